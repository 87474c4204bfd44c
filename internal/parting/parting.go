// Package parting decides from what both ends of a queue hold where copying it goes on, and where its origin has lost what was copied. It is
// pure: package replicate asks brokers for it, and the simulation plays it.
package parting

import (
	"errors"
	"fmt"

	"github.com/go-msha/msha"
)

var (
	// ErrChanged says that the origin queue does not hold what was copied from it.
	ErrChanged = errors.New("what was copied is not there any more")
	// ErrExpired marks the gap that a policy may skip.
	ErrExpired = errors.New("expired before they were copied")
)

// Resume decides the next origin offset to copy behind last, the identity of the last copy. same is false if the origin holds another message at
// its offset; low and high are the ends of the origin queue.
func Resume(from msha.OriginQueue, in *msha.Incarnations, last msha.Origin, same bool, low, high int64) (int64, error) {
	if last.First() != from || last.Incarnation > in.Newest(from) {
		return 0, msha.Errorf("replicate.resume", from.String(), "somebody else wrote into the replica topic", "%w: the replica queue holds copies of %s", msha.ErrInvalid, last.OriginQueue)
	}
	next, used := in.After(last)
	if err := Within(from, next, low, high); err != nil {
		return next, err
	}
	if !used && !same {
		return next, fmt.Errorf("%w: the message at offset %d is not the one that was copied", ErrChanged, last.Offset)
	}
	return next, nil
}

// Within checks a position against what the origin holds.
func Within(from msha.OriginQueue, next, low, high int64) error {
	switch {
	case next > high:
		return fmt.Errorf("%w: copied up to offset %d, the origin ends at %d", ErrChanged, next-1, high)
	case next < low:
		return msha.Errorf("replicate.resume", from.String(), "raise the retention time, or choose OnGap: Skip", "%w: offsets %d to %d %w", msha.ErrGap, next, low-1, ErrExpired)
	}
	return nil
}

// Copy is what one copy tells.
type Copy struct {
	Place   int64 // in the replica queue
	Origin  msha.Origin
	Kept    bool // the origin holds its original, or held it before its messages expired
	Differs bool // the origin holds something else, or nothing yet
}

// Against compares a copy's offset with the ends of the origin queue. ask is true if the message there has to be looked at.
func (c *Copy) Against(low, high int64) (ask bool) {
	c.Differs, c.Kept = c.Origin.Offset >= high, c.Origin.Offset < low
	return !c.Differs && !c.Kept
}

// Judge finds the first copy from a place on, and below end, whose offset was not used again since; nil if there is none.
type Judge func(place, end int64) (*Copy, error)

// Before finds the copy right before those that lead up to the one at a place, each the next of its origin, if it is of a later message than that:
// its place. A batch that a replaced process had on its way may lie behind copies that are further.
type Before func(place int64) (before int64, further bool, err error)

// Part is where a replica queue and its origin queue part.
type Part struct {
	From   int64 // offset behind the last copy whose original is still there, and not beyond one whose original is not
	Common bool  // there is such a copy
	Differ bool  // there is a copy whose original is not
	least  int64 // the lowest offset of those
}

// Search finds, from the end on, the place up to which the copies [first, end) have their originals: they are in the order of the origin. If the
// place lies in a batch behind copies that are further, it searches those. low is that of the origin queue.
func Search(first, end, low int64, judge Judge, before Before) (p Part, err error) {
	for {
		last, err := p.lastKept(first, end, low, judge)
		if err != nil {
			return p, err
		}
		if last < first {
			break
		}
		place, further, err := before(last)
		if err != nil {
			return p, err
		}
		if !further {
			break
		}
		end = place + 1
	}
	if p.Differ {
		p.From = min(p.From, p.least)
	}
	return p, nil
}

// lastKept is the place of the last copy before end that has its original, if all before it have theirs and none behind it; before first if
// there is none.
func (p *Part) lastKept(first, end, low int64, judge Judge) (kept int64, err error) {
	kept = first - 1
	parted, found := end, false // parted: behind the last one
	probe := func(place int64) error {
		c, err := judge(place, parted)
		if err != nil {
			return err
		}
		if c != nil {
			p.note(c, low)
		}
		if c != nil && c.Kept {
			kept, found = c.Place, true
		} else {
			parted = place
		}
		return nil
	}
	for step := int64(1); err == nil && !found && end-step >= first; step *= 2 {
		err = probe(end - step)
	}
	for err == nil && parted-kept > 1 {
		err = probe(kept + (parted-kept)/2)
	}
	return kept, err
}

func (p *Part) note(c *Copy, low int64) {
	if c.Differs && (!p.Differ || c.Origin.Offset < p.least) {
		p.Differ, p.least = true, c.Origin.Offset
	}
	if c.Kept && c.Origin.Offset >= low {
		p.From, p.Common = max(p.From, c.Origin.Offset+1), true
	}
}
