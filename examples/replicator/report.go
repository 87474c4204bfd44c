package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/go-msha/msha/replicate"
)

// readReport reads the report of an interrupted audit; nil if there is none.
func readReport(file string) (*replicate.AuditReport, error) {
	if file == "" {
		return nil, nil
	}
	text, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	report := &replicate.AuditReport{}
	if err := json.Unmarshal(text, report); err != nil {
		return nil, fmt.Errorf("%s holds no audit to go on with, remove it to begin anew: %w", file, err)
	}
	return report, nil
}

// writeReport replaces the file as a whole, so that a killed audit leaves one that can be read.
func writeReport(file string, report *replicate.AuditReport) error {
	text, err := json.Marshal(report)
	if err != nil {
		return err
	}
	if err := os.WriteFile(file+".new", text, 0o644); err != nil {
		return err
	}
	return os.Rename(file+".new", file)
}
