package main

import (
	"io"
	"log/slog"
	"os"
	"path/filepath"
)

// logFolder is where the demo's processes write their logs.
type logFolder struct {
	dir  string
	log  *slog.Logger // of this process
	file *os.File
}

// openLogs makes the folder and begins the log of this process, which -v prints too.
func openLogs(c config) (_ *logFolder, err error) {
	l := &logFolder{dir: c.logDir}
	if l.dir == "" {
		l.dir, err = os.MkdirTemp("", "smsgateway-")
	} else {
		err = os.MkdirAll(l.dir, 0o755)
	}
	if err != nil {
		return nil, err
	}
	if l.file, err = os.Create(l.path("demo")); err != nil {
		return nil, err
	}
	var w io.Writer = l.file
	if c.verbose {
		w = io.MultiWriter(l.file, os.Stderr)
	}
	l.log = slog.New(slog.NewTextHandler(w, nil))
	return l, nil
}

// path is the log of a process.
func (l *logFolder) path(name string) string { return filepath.Join(l.dir, name+".log") }

func (l *logFolder) close() { l.file.Close() } //nolint:errcheck // a log
