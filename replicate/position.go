package replicate

import (
	"github.com/go-msha/msha"
	"github.com/go-msha/msha/internal/parting"
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
	return parting.Resume(from, in, o, atTail == nil || sameMessage(atTail, tail), originMin, originMax)
}

// sameMessage compares what a copy keeps. A broker gives a message that has no UNIQ_KEY one when it stores it singly, so only the copy
// may have it.
func sameMessage(origin, copied *remoting.Message) bool {
	key := origin.Properties["UNIQ_KEY"]
	return (key == "" || key == copied.Properties["UNIQ_KEY"]) && len(origin.Body) == len(copied.Body) && origin.BodyCRC == copied.BodyCRC
}
