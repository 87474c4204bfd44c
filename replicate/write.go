package replicate

import (
	"context"
	"errors"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/internal/remoting"
)

// write sends one batch. A send that began is finished even if ctx ends, so that a graceful stop leaves no doubt.
func (s *session) write(ctx context.Context, batch []remoting.Record) error {
	if err := s.waitWhilePaused(ctx); err != nil {
		return err
	}
	if err := s.writeParts(ctx, batch); err != nil {
		return err
	}
	s.setCopied(s.markAt(batch[len(batch)-1].QueueOffset + 1))
	return nil
}

// writeParts halves what the target finds too large; then nothing of it is stored. A message that it refuses stops the queue.
func (s *session) writeParts(ctx context.Context, batch []remoting.Record) error {
	err := s.deliver(ctx, batch)
	half := len(batch) / 2
	switch {
	case !errors.Is(err, msha.ErrTooLarge):
		return err
	case half == 0:
		return finalError{msha.Errorf("replicate.send", s.from.String(), "raise the target's message size, or expire the message at the origin",
			"message %s cannot be copied: %w", msha.Origin{OriginQueue: s.in.At(s.from, batch[0].QueueOffset), Offset: batch[0].QueueOffset}.Encode(), err)}
	}
	if err := s.writeParts(ctx, batch[:half]); err != nil {
		return err
	}
	return s.writeParts(ctx, batch[half:])
}

// send stores one batch.
func (s *session) send(ctx context.Context, batch []remoting.Record) error {
	if s.history.Now().Newest(s.from) != s.in.Newest(s.from) {
		return errRaised
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	right, err := s.mayWrite(ctx)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.opts.timeout)
	defer cancel()
	var stored *remoting.SendResult
	if s.copier.fits(&batch[0]) {
		stored, err = s.remote.SendEncoded(ctx, s.target, producerGroup, batch[0].BornTimestamp, func(dst []byte) []byte {
			for i := range batch {
				dst = s.copier.write(dst, &batch[i])
			}
			return dst
		})
	} else {
		stored, err = s.sendAlone(ctx, &batch[0])
	}
	if err != nil && !errors.Is(err, remoting.ErrStored) || stored == nil {
		return err
	}
	return s.wrote(stored.QueueOffset, len(batch), right)
}

// sendAlone stores a message as a batch of one, where it can: brokers refuse an empty body otherwise, and give a message without UNIQ_KEY
// one.
func (s *session) sendAlone(ctx context.Context, r *remoting.Record) (*remoting.SendResult, error) {
	m, err := r.Message()
	if err != nil {
		return nil, err
	}
	m = copyOf(m, s.in.At(s.from, m.QueueOffset), s.target.Topic)
	if fitsBatch(m) {
		return s.remote.SendBatch(ctx, s.target, producerGroup, []*remoting.Message{m})
	}
	return s.remote.Send(ctx, s.target, producerGroup, m)
}
