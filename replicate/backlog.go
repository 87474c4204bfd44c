package replicate

import "github.com/go-msha/msha/internal/remoting"

// backlog is what was read and not yet sent. Its front is the next batch.
type backlog struct {
	ms    []remoting.Record
	pulls []answer // that ms are of
	n     int      // messages in the batch
	size  int      // of the batch
	more  bool     // the origin holds more than was read
	err   error    // why nothing more is read
}

// answer is a pull answer of which messages are left.
type answer struct{ left, memory int }

func (b *backlog) add(p pulled) {
	b.ms, b.more, b.err = append(b.ms, p.ms...), p.more, p.err
	if len(p.ms) > 0 {
		b.pulls = append(b.pulls, answer{len(p.ms), memoryOf(p.ms)})
	}
}

// extend puts as many messages into the batch as fit, and reports whether it is full. A message that does not fit into any batch is one
// alone; a batch item has no compression flag, so a compressed message is one of these.
func (b *backlog) extend(c *copier, maxMessages, maxBytes int) (full bool) {
	for b.n < len(b.ms) {
		m := &b.ms[b.n]
		alone, size := !c.fits(m), c.size(m)
		if b.n > 0 && (alone || b.size+size > maxBytes) {
			return true
		}
		b.n, b.size = b.n+1, b.size+size
		if alone || b.n >= maxMessages {
			return true
		}
	}
	return false
}

func (b *backlog) batch() []remoting.Record { return b.ms[:b.n] }

// pop forgets the batch and gives the memory that this makes free: a pull answer is kept until its last message was sent.
func (b *backlog) pop() (memory int) {
	rest := copy(b.ms, b.ms[b.n:])
	clear(b.ms[rest:])
	b.ms = b.ms[:rest]
	for done := b.n; done > 0; {
		p := &b.pulls[0]
		n := min(done, p.left)
		done, p.left = done-n, p.left-n
		if p.left == 0 {
			memory += p.memory
			b.pulls = b.pulls[1:]
		}
	}
	b.n, b.size = 0, 0
	return memory
}
