package switchplan

import "time"

// Report is the outcome of a switch.
type Report struct {
	Task             string
	Moved            []string // routing values, sorted; "@unit" for what has no value
	TakenOver        int64    // processed by the new owner of what the old one had left, when the report was made
	Pending          int64    // left when Run stopped waiting; the new owner goes on
	PossiblyRepeated int64
	Unknown          int64
	Phases           []PhaseResult
	Pause            time.Duration // between fence and commit nobody started messages of the routes
	Duration         time.Duration
}

// PhaseResult says how one phase or step went.
type PhaseResult struct {
	Phase    string        `json:"phase"`
	Duration time.Duration `json:"duration"`
	Note     string        `json:"note,omitempty"`
}
