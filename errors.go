package msha

import (
	"errors"
	"fmt"
)

// Sentinel errors. Every error returned by the module that belongs to one of these classes satisfies errors.Is with it;
// context errors are passed on and never replaced.
var (
	ErrNotFound     = errors.New("not found")           // a document, topic, unit, group or value does not exist
	ErrConflict     = errors.New("revision conflict")   // the expected revision of a compare-and-set is not the current one
	ErrInvalid      = errors.New("invalid")             // input that can never succeed as it is
	ErrTooLarge     = errors.New("too large")           // a document, message or name exceeds a stated limit
	ErrBusy         = errors.New("busy")                // the routes are in phases 1-6 of another switch
	ErrUnsafe       = errors.New("unsafe metastore")    // tables are served, switching is refused (design section 5)
	ErrMissingFacts = errors.New("missing facts")       // a listed group has no facts where it must have some
	ErrGap          = errors.New("gap in the origin")   // messages expired before they were copied, or a topic was recreated
	ErrUnmanaged    = errors.New("unmanaged client")    // a client that does not acknowledge takes part in a managed group
	ErrUnsupported  = errors.New("unsupported")         // POP, static topics, broadcasting where routing is needed
	ErrClosed       = errors.New("closed")              // the object was closed
	ErrAborted      = errors.New("switch aborted")      // the switch was undone; the old owner keeps its term
	ErrDenied       = errors.New("access denied")       // the cluster refuses the account, its signature, or a right it lacks
	ErrGuard        = errors.New("refused by a guard")  // a switch that is possible but unwise; nothing has changed
	ErrNotConfirmed = errors.New("fence not confirmed") // an agent of the old owner did not acknowledge the fence in time
)

// OpError says what was being done, on what, and what the operator can do about it.
type OpError struct {
	Op       string // what: "switch.check", "replicate.resume"
	Resource string // where: a topic queue, a document key, a client id
	Hint     string // what to do; may be empty
	Err      error
}

// Error implements error.
func (e *OpError) Error() string {
	s := e.Op
	if e.Resource != "" {
		s += " " + e.Resource
	}
	s += ": " + e.Err.Error()
	if e.Hint != "" {
		s += " (" + e.Hint + ")"
	}
	return s
}

// Unwrap returns the cause.
func (e *OpError) Unwrap() error { return e.Err }

// Errorf builds an OpError whose cause is formatted with fmt.Errorf, so %w keeps a sentinel reachable.
func Errorf(op, resource, hint, format string, args ...any) error {
	return &OpError{Op: op, Resource: resource, Hint: hint, Err: fmt.Errorf(format, args...)}
}
