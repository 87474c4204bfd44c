package replicate

import (
	"errors"
	"fmt"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/internal/remoting"
)

// resume decides the next origin offset to copy from what both ends hold. tail is the last message of the replica queue, nil if there
// is none; atTail is the origin's message at the offset tail was copied from, nil if the origin no longer (or not yet again) has it.
func resume(from msha.OriginQueue, in *msha.Incarnations, tail, atTail *remoting.Message, originMin, originMax int64) (int64, error) {
	if tail == nil {
		return originMin, nil
	}
	o, err := msha.ParseOrigin(tail.Properties[msha.PropertyOrigin])
	if err != nil {
		return 0, msha.Errorf("replicate.resume", from.String(), "somebody else wrote into the replica topic", "%w: last message of the replica queue has no origin: %v", msha.ErrInvalid, err)
	}
	if o.First() != from || o.Incarnation > in.Newest(from) {
		return 0, msha.Errorf("replicate.resume", from.String(), "somebody else wrote into the replica topic", "%w: the replica queue holds copies of %s", msha.ErrInvalid, o.OriginQueue)
	}
	next, used := in.After(o)
	if err := within(from, next, originMin, originMax); err != nil {
		return next, err
	}
	if !used && atTail != nil && !sameMessage(atTail, tail) {
		return next, fmt.Errorf("%w: the message at offset %d is not the one that was copied", errChanged, o.Offset)
	}
	return next, nil
}

// errExpired marks the gap that a policy may skip.
var errExpired = errors.New("expired before they were copied")

// within checks a position against what the origin holds.
func within(from msha.OriginQueue, next, originMin, originMax int64) error {
	switch {
	case next > originMax:
		return fmt.Errorf("%w: copied up to offset %d, the origin ends at %d", errChanged, next-1, originMax)
	case next < originMin:
		return msha.Errorf("replicate.resume", from.String(), "raise the retention time, or choose OnGap: Skip", "%w: offsets %d to %d %w", msha.ErrGap, next, originMin-1, errExpired)
	}
	return nil
}

// sameMessage compares what a copy keeps. A broker gives a message that has no UNIQ_KEY one when it stores it singly, so only the copy
// may have it.
func sameMessage(origin, copied *remoting.Message) bool {
	key := origin.Properties["UNIQ_KEY"]
	return (key == "" || key == copied.Properties["UNIQ_KEY"]) && len(origin.Body) == len(copied.Body) && origin.BodyCRC == copied.BodyCRC
}
