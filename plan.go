package msha

import (
	"encoding/json"
	"errors"
	"time"
)

// duration is a time.Duration that people can read in JSON. Numbers are nanoseconds, as older work orders have them.
type duration time.Duration

// MarshalJSON implements json.Marshaler.
func (d duration) MarshalJSON() ([]byte, error) { return json.Marshal(time.Duration(d).String()) }

// UnmarshalJSON implements json.Unmarshaler.
func (d *duration) UnmarshalJSON(b []byte) error {
	var s string
	if json.Unmarshal(b, &s) != nil {
		return json.Unmarshal(b, (*int64)(d))
	}
	parsed, err := time.ParseDuration(s)
	if err != nil {
		return errors.New("not a duration like 10s: " + s)
	}
	*d = duration(parsed)
	return nil
}

// The JSON forms have the fields of their types; only durations are written another way. An outer field hides the embedded one of its name.
type (
	plainRequest SwitchRequest
	requestJSON  struct {
		*plainRequest
		Deadline duration `json:"deadline,omitempty"`
	}
	plainPlan Plan
	planJSON  struct {
		*plainPlan
		Deadline duration `json:"deadline"`
	}
	plainStep Step
	stepJSON  struct {
		*plainStep
		Timeout duration `json:"timeout,omitempty"`
		Pause   duration `json:"pause,omitempty"`
	}
)

// MarshalJSON writes durations as "10s".
func (r SwitchRequest) MarshalJSON() ([]byte, error) {
	return json.Marshal(requestJSON{(*plainRequest)(&r), duration(r.Deadline)})
}

// UnmarshalJSON reads what MarshalJSON writes. Durations may be nanoseconds too.
func (r *SwitchRequest) UnmarshalJSON(b []byte) error {
	in := requestJSON{plainRequest: (*plainRequest)(r)}
	if err := json.Unmarshal(b, &in); err != nil {
		return err
	}
	r.Deadline = time.Duration(in.Deadline)
	return nil
}

// MarshalJSON writes durations as "10s"; the code of steps is not written, only their names.
func (p Plan) MarshalJSON() ([]byte, error) {
	return json.Marshal(planJSON{(*plainPlan)(&p), duration(p.Deadline)})
}

// UnmarshalJSON reads what MarshalJSON writes; package switchplan reads plans strictly and binds steps to code.
func (p *Plan) UnmarshalJSON(b []byte) error {
	in := planJSON{plainPlan: (*plainPlan)(p)}
	if err := json.Unmarshal(b, &in); err != nil {
		return err
	}
	p.Deadline = time.Duration(in.Deadline)
	return nil
}

// MarshalJSON writes durations as "10s".
func (s Step) MarshalJSON() ([]byte, error) {
	return json.Marshal(stepJSON{(*plainStep)(&s), duration(s.Timeout), duration(s.Pause)})
}

// UnmarshalJSON reads what MarshalJSON writes. Durations may be nanoseconds too.
func (s *Step) UnmarshalJSON(b []byte) error {
	in := stepJSON{plainStep: (*plainStep)(s)}
	if err := json.Unmarshal(b, &in); err != nil {
		return err
	}
	s.Timeout, s.Pause = time.Duration(in.Timeout), time.Duration(in.Pause)
	return nil
}
