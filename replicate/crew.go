package replicate

import (
	"encoding/json"
	"slices"
	"strings"

	"github.com/go-msha/msha"
)

// share is the unit of work that replicator processes divide: a topic's queues on one broker of the origin, copied to one target unit.
type share struct {
	Target string `json:"target"`
	Topic  string `json:"topic"`
	Broker string `json:"broker"` // of the origin
}

func (s share) compare(o share) int {
	return strings.Compare(s.Target+"\x00"+s.Topic+"\x00"+s.Broker, o.Target+"\x00"+o.Topic+"\x00"+o.Broker)
}

// shared is a share and the session of the member that copies it; nobody if empty.
type shared struct {
	share
	Owner string `json:"owner,omitempty"`
}

// member is one stay of one process in the crew.
type member struct {
	Session    string   `json:"session"` // random
	Name       string   `json:"name"`    // for people
	Slot       int      `json:"slot"`    // number of its lease
	Generation uint64   `json:"generation"`
	Targets    []string `json:"targets,omitempty"` // what it was told to copy, as in Options
	Topics     []string `json:"topics,omitempty"`
	Deny       []string `json:"deny,omitempty"`
	Place      place    `json:"place,omitzero"` // to recognize its death on the same machine
	Dead       bool     `json:"dead,omitempty"` // its process has ended; listed until its slot is free
}

// serves reports whether a member was told to copy a share.
func (m member) serves(s share) bool {
	if len(m.Targets) > 0 && !slices.Contains(m.Targets, s.Target) {
		return false
	}
	return s.Topic == msha.ProgressTopic || matches(s.Topic, m.Topics) && !matches(s.Topic, m.Deny)
}

// crew is the document of the processes that copy from one origin. One rule keeps two of them from a share: its owner changes only by
// the owner, which has drained it, or by somebody who knows that the owner's lease has ended or its process is dead. Its methods are
// the decisions: they depend on nothing else.
type crew struct {
	Version uint64   `json:"version"` // of the document: no two are equal
	Members []member `json:"members"`
	Shares  []shared `json:"shares"` // sorted
}

func parseCrew(key string, value []byte) (crew, error) {
	var c crew
	if len(value) == 0 {
		return c, nil
	}
	if err := json.Unmarshal(value, &c); err != nil {
		return c, msha.Errorf("replicate.share", key, "delete the document: the replicators join anew", "%w: %v", msha.ErrInvalid, err)
	}
	return c, nil
}

// find returns the living member with a session, nil if there is none.
func (c *crew) find(session string) *member {
	for i := range c.Members {
		if m := &c.Members[i]; m.Session == session && !m.Dead {
			return m
		}
	}
	return nil
}

// living is the number of members that are not dead.
func (c *crew) living() (n int) {
	for _, m := range c.Members {
		if !m.Dead {
			n++
		}
	}
	return n
}

// owned are the shares of a member.
func (c *crew) owned(session string) []share {
	var out []share
	for _, s := range c.Shares {
		if s.Owner == session {
			out = append(out, s.share)
		}
	}
	return out
}

// takes reports whether a slot's lease is somebody's.
func (c *crew) takes(slot int) bool {
	return slices.ContainsFunc(c.Members, func(m member) bool { return m.Slot == slot })
}

// join adds a member; it gets what nobody has, and later what the others find they have too much of.
func (c *crew) join(m member) {
	c.Members = append(c.Members, m)
	c.assign()
}

// leave removes a member that has drained all its shares.
func (c *crew) leave(session string) {
	c.Members = slices.DeleteFunc(c.Members, func(m member) bool { return m.Session == session })
	c.assign()
}

// bury removes a member whose lease, of exactly this slot and generation, is known to have ended. It reports whether it was listed.
func (c *crew) bury(dead member) bool {
	n := len(c.Members)
	c.Members = slices.DeleteFunc(c.Members, func(m member) bool {
		return m.Session == dead.Session && m.Slot == dead.Slot && m.Generation == dead.Generation
	})
	c.assign()
	return len(c.Members) < n
}

// died notes that a member's process has ended. It stays listed, without shares, until somebody has its slot.
func (c *crew) died(session string) bool {
	m := c.find(session)
	if m == nil {
		return false
	}
	m.Dead = true
	c.assign()
	return true
}

// move gives a member another lease. It reports whether the member was listed still.
func (c *crew) move(session string, slot int, generation uint64) bool {
	m := c.find(session)
	if m == nil {
		return false
	}
	m.Slot, m.Generation = slot, generation
	return true
}

// offer adds shares that are not listed yet.
func (c *crew) offer(shares []share) (changed bool) {
	for _, s := range shares {
		i, found := slices.BinarySearchFunc(c.Shares, s, func(have shared, s share) int { return have.compare(s) })
		if !found {
			c.Shares = slices.Insert(c.Shares, i, shared{share: s})
			changed = true
		}
	}
	if changed {
		c.assign()
	}
	return changed
}

// hand gives drained shares of a member to whoever has the fewest. It reports whether one of them still was the member's.
func (c *crew) hand(session string, drained []share) (changed bool) {
	for i := range c.Shares {
		if s := &c.Shares[i]; s.Owner == session && slices.Contains(drained, s.share) {
			s.Owner, changed = "", true
		}
	}
	if changed {
		c.assign()
	}
	return changed
}

// load is the number of shares of each living member.
func (c *crew) load() map[string]int {
	load := map[string]int{}
	for _, m := range c.Members {
		if !m.Dead {
			load[m.Session] = 0
		}
	}
	for _, s := range c.Shares {
		if _, alive := load[s.Owner]; alive {
			load[s.Owner]++
		}
	}
	return load
}

// assign gives shares without a living owner to the least loaded member that serves them. Nothing moves from one living member to another.
func (c *crew) assign() {
	load := c.load()
	for i := range c.Shares {
		s := &c.Shares[i]
		if _, alive := load[s.Owner]; !alive {
			if s.Owner = c.least(load, s.share); s.Owner != "" {
				load[s.Owner]++
			}
		}
	}
}

// least is the member with the fewest shares that serves s; the first of several, nobody if none serves it.
func (c *crew) least(load map[string]int, s share) (best string) {
	for _, m := range c.Members {
		if !m.Dead && m.serves(s) && (best == "" || load[m.Session] < load[best]) {
			best = m.Session
		}
	}
	return best
}

// surplus are the shares that a member should drain and hand over, so that in the end no share has an owner with two more than another
// that could have it. Every move is needed for that, and all members find the same ones in the same document.
func (c *crew) surplus(session string) []share {
	plan := crew{Members: c.Members, Shares: slices.Clone(c.Shares)}
	load := plan.load()
	for plan.even(load) {
	}
	var out []share
	for i, s := range c.Shares {
		if s.Owner == session && plan.Shares[i].Owner != session {
			out = append(out, s.share)
		}
	}
	return out
}

// even moves one share from a member with many to one with few; false if there is nothing to move.
func (c *crew) even(load map[string]int) bool {
	fewest := len(c.Shares)
	for _, n := range load {
		fewest = min(fewest, n)
	}
	from, to, at := "", "", -1
	for i := len(c.Shares) - 1; i >= 0; i-- {
		s := c.Shares[i]
		n := load[s.Owner]
		if n < fewest+2 || from != "" && n <= load[from] {
			continue // not more than the best so far
		}
		if least := c.least(load, s.share); least != "" && n >= load[least]+2 {
			from, to, at = s.Owner, least, i
		}
	}
	if at < 0 {
		return false
	}
	c.Shares[at].Owner = to
	load[from]--
	load[to]++
	return true
}
