package lease

import (
	"encoding/json"
	"time"

	"github.com/go-msha/msha"
)

// document is what the store holds.
type document struct {
	Holder     string `json:"holder"`
	Session    string `json:"session"`    // random for each call of Acquire
	Generation uint64 `json:"generation"` // of this acquisition; never goes down
	// Attempt counts the writes of the session, so that an attempt without answer is recognized when it is read, and so that no two
	// documents are equal: a store may derive revisions from contents.
	Attempt  uint64   `json:"attempt"`
	TTL      duration `json:"ttl"`
	Released bool     `json:"released,omitempty"`
}

// duration is written the way operators read it: "15s".
type duration time.Duration

// MarshalText implements encoding.TextMarshaler.
func (d duration) MarshalText() ([]byte, error) { return []byte(time.Duration(d).String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (d *duration) UnmarshalText(b []byte) error {
	v, err := time.ParseDuration(string(b))
	*d = duration(v)
	return err
}

func (d document) encode() []byte {
	b, err := json.Marshal(d)
	if err != nil {
		panic(err) // strings, numbers and a text marshaler that cannot fail
	}
	return b
}

// decode refuses what is not a lease: taking it for a free one would lose the generation.
func decode(key string, value []byte) (document, error) {
	var d document
	err := json.Unmarshal(value, &d)
	if err == nil && (d.Session == "" || d.Generation == 0 || d.TTL <= 0) {
		err = msha.ErrInvalid
	}
	if err != nil {
		return document{}, msha.Errorf("lease.read", key, "repair the document, with a generation above all used ones; do not delete it",
			"%w lease document: %v", msha.ErrInvalid, err)
	}
	return d, nil
}
