package replicate

import (
	"github.com/go-msha/msha"
	"github.com/go-msha/msha/internal/remoting"
)

// resume decides the next origin offset to copy from what both ends hold. tail is the last message of the replica queue, nil if there
// is none; atTail is the origin's message at the offset tail was copied from, nil if the origin no longer (or not yet again) has it.
func resume(from msha.OriginQueue, tail, atTail *remoting.Message, originMin, originMax int64) (int64, error) {
	if tail == nil {
		return originMin, nil
	}
	o, err := msha.ParseOrigin(tail.Properties[msha.PropertyOrigin])
	if err != nil {
		return 0, msha.Errorf("replicate.resume", from.String(), "somebody else wrote into the replica topic", "%w: last message of the replica queue has no origin: %v", msha.ErrInvalid, err)
	}
	if o.OriginQueue != from {
		return 0, msha.Errorf("replicate.resume", from.String(), "somebody else wrote into the replica topic", "%w: the replica queue holds copies of %s", msha.ErrInvalid, o.OriginQueue)
	}
	next := o.Offset + 1
	switch {
	case next > originMax:
		return 0, msha.Errorf("replicate.resume", from.String(), "the topic was recreated, or the broker lost its tail", "%w: copied up to offset %d, the origin ends at %d", msha.ErrGap, o.Offset, originMax)
	case next < originMin:
		return originMin, msha.Errorf("replicate.resume", from.String(), "raise the retention time, or choose OnGap: Skip", "%w: offsets %d to %d expired before they were copied", msha.ErrGap, next, originMin-1)
	case atTail != nil && fingerprint(atTail) != fingerprint(tail):
		return 0, msha.Errorf("replicate.resume", from.String(), "the origin lost its tail or the topic was recreated", "%w: the message at offset %d is not the one that was copied", msha.ErrGap, o.Offset)
	}
	return next, nil
}

type print struct {
	key  string
	size int
	crc  int32
}

// fingerprint tells two messages at one offset apart.
func fingerprint(m *remoting.Message) print {
	return print{m.Properties["UNIQ_KEY"], len(m.Body), m.BodyCRC}
}
