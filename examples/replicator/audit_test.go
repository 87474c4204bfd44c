package main

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/replicate"
)

func TestRanges(t *testing.T) {
	q, r, err := parseRange("SMS/broker-a/2=100-199")
	require.NoError(t, err)
	require.Equal(t, msha.OriginQueue{Topic: "SMS", Broker: "broker-a", Queue: 2}, q)
	require.Equal(t, replicate.AuditRange{From: 100, To: 200}, r)
	_, r, err = parseRange("SMS/broker-a/0=100-")
	require.NoError(t, err)
	require.Equal(t, replicate.AuditRange{From: 100}, r)
	for _, s := range []string{"", "SMS", "SMS/b=1-2", "SMS/b/x=1-2", "SMS/b/0=1", "SMS/b/0=x-2", "SMS/b/0=2-1", "SMS/b/0=-1-2", "/b/0=1-2"} {
		_, _, err := parseRange(s)
		require.Error(t, err, s)
	}
}

func report(finished bool, kind replicate.FindingKind, n int64) *replicate.AuditReport {
	q := msha.OriginQueue{Unit: "unit-1", Broker: "b", Topic: "SMS"}
	a := replicate.QueueAudit{Queue: q, Target: "unit-2", Finished: finished, Findings: map[replicate.FindingKind]replicate.Findings{}}
	if n > 0 {
		a.Findings[kind] = replicate.Findings{Count: n, List: []replicate.Finding{{From: 5, To: 6, Replica: 5, Detail: "why"}}}
	}
	if !finished {
		a.Err = "broker away"
	}
	return &replicate.AuditReport{Origin: "unit-1", Finished: finished, Queues: []replicate.QueueAudit{a}}
}

func TestHowAnAuditEnds(t *testing.T) {
	file := filepath.Join(t.TempDir(), "audit.json")
	for _, c := range []struct {
		report *replicate.AuditReport
		err    error
		ends   error
		says   string
		kept   bool
	}{
		{report(true, "", 0), nil, nil, "0 of 1 queues not finished", false},
		{report(true, replicate.Swapped, 3), nil, errDifferent, "3 swapped\n  offset 5: why\n  and more, -listed 1", false},
		{report(true, replicate.Repeated, 1), nil, nil, "1 repeated", false},
		{report(false, "", 0), nil, nil, "not finished: broker away", true},
		{report(false, replicate.Missing, 1), nil, errDifferent, "1 missing", true},
	} {
		require.NoError(t, writeReport(file, c.report))
		again, err := readReport(file)
		require.NoError(t, err)
		require.Equal(t, c.report.Verdict(), again.Verdict())
		var out bytes.Buffer
		f := &auditFlags{resume: file}
		err = f.conclude(c.report, c.err, &out)
		require.Contains(t, out.String(), c.says)
		require.Equal(t, c.ends != nil, errors.Is(err, errDifferent), "%v", err)
		if c.kept {
			require.ErrorContains(t, err, "the same command goes on")
			require.FileExists(t, file)
			require.NoError(t, os.Remove(file))
		} else {
			require.NoFileExists(t, file)
		}
	}
	require.NoError(t, os.WriteFile(file, []byte("{"), 0o600))
	_, err := readReport(file)
	require.ErrorContains(t, err, "remove it to begin anew")
	require.NoError(t, writeReport(file, report(true, "", 0)))
	_, err = readReport("")
	require.NoError(t, err)
}
