package chaos

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestJournalIsReadAsItWasWritten(t *testing.T) {
	dir := t.TempDir()
	a, err := Create(dir, "unit-1.agent-1.1")
	require.NoError(t, err)
	_, err = Create(dir, "unit-1.agent-1.1")
	require.ErrorIs(t, err, os.ErrExist)
	b, err := Create(dir, "unit-2.agent-1.1")
	require.NoError(t, err)
	r := NewReader(dir)
	require.NoError(t, a.Write(Start, 1, "key-1", "beijing"))
	require.NoError(t, b.Write(Start, 1, "key-2", "guangzhou"))
	first, err := r.Read()
	require.NoError(t, err)
	require.Len(t, first, 2)
	require.NoError(t, a.Write(End, 1, "key-1", "beijing"))
	second, err := r.Read()
	require.NoError(t, err)
	require.Len(t, second, 1, "only what is new")
	l := second[0]
	require.Equal(t, "unit-1", l.Unit())
	require.Equal(t, os.Getpid(), l.PID)
	require.Equal(t, 2, l.Seq)
	require.Equal(t, End, l.Event)
	require.Equal(t, first[0].Began, l.Began)
	require.False(t, l.At.Before(first[0].At))
	again, err := parseLine(strings.TrimSuffix(string(l.encode()), "\n"))
	require.NoError(t, err)
	require.Equal(t, l, again)
	require.NoError(t, a.Close())
	require.NoError(t, b.Close())
}

func TestUnfinishedLineIsLeftUntilItIsComplete(t *testing.T) {
	dir := t.TempDir()
	j, err := Create(dir, "unit-1.agent-1.1")
	require.NoError(t, err)
	require.NoError(t, j.Write(Start, 1, "key", "beijing"))
	name := filepath.Join(dir, "unit-1.agent-1.1"+suffix)
	whole, err := os.ReadFile(name)
	require.NoError(t, err)
	for cut := range whole {
		require.NoError(t, os.WriteFile(name, whole[:cut], 0o644))
		r := NewReader(dir)
		lines, err := r.Read()
		require.NoError(t, err)
		require.Empty(t, lines)
		require.NoError(t, os.WriteFile(name, whole, 0o644))
		lines, err = r.Read()
		require.NoError(t, err)
		require.Len(t, lines, 1)
	}
}

func TestWrongLines(t *testing.T) {
	good := "unit-1.agent-1.1 7 1 1 5 start 1 key beijing"
	_, err := parseLine(good)
	require.NoError(t, err)
	for _, text := range []string{
		"", "start", strings.Replace(good, " 7 ", " x ", 1), strings.Replace(good, "start", "begin", 1), good + " more", strings.Replace(good, "key", "a key", 1),
	} {
		_, err := parseLine(text)
		require.ErrorContains(t, err, "journal line", text)
	}
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "x"+suffix), []byte("what is this\n"), 0o644))
	_, err = NewReader(dir).Read()
	require.ErrorContains(t, err, "x.journal at 0")
}
