package msha

// Roster is the durable list of processes that may start messages, under RosterKey (design section 7, Gate). A process enters it by
// compare-and-set before it registers at a broker and leaves it in a graceful shutdown; a switch waits for every member of the
// losing unit.
type Roster struct {
	Members []RosterMember `json:"members"`
}

// RosterMember is one process of one unit.
type RosterMember struct {
	ClientID string   `json:"clientID"`          // as the broker lists it
	Session  string   `json:"session,omitempty"` // new each time the process enters: what was observed of an earlier one does not count
	Unit     string   `json:"unit"`
	Groups   []string `json:"groups,omitempty"`
	Strict   bool     `json:"strict,omitempty"` // it starts nothing without the metastore for longer than G
}

// With returns a copy in which m is listed, replacing an entry with the same client id.
func (r Roster) With(m RosterMember) Roster {
	return Roster{Members: append(r.Without(m.ClientID).Members, m)}
}

// Prune returns a copy without the given entries; one whose process has entered again meanwhile stays.
func (r Roster) Prune(dead []RosterMember) Roster {
	out := Roster{Members: make([]RosterMember, 0, len(r.Members))}
	for _, m := range r.Members {
		gone := false
		for _, d := range dead {
			gone = gone || d.ClientID == m.ClientID && d.Session == m.Session
		}
		if !gone {
			out.Members = append(out.Members, m)
		}
	}
	return out
}

// Without returns a copy that does not list the client id.
func (r Roster) Without(clientID string) Roster {
	out := make([]RosterMember, 0, len(r.Members)+1)
	for _, m := range r.Members {
		if m.ClientID != clientID {
			out = append(out, m)
		}
	}
	return Roster{Members: out}
}
