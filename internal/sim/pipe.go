package sim

// pipe copies one origin queue to one replica queue, in order and late. After a restart it may send its last batch again.
type pipe struct {
	w        *world
	from, to *queue
	target   *cluster
	next     int // origin offset
	batch    int // length of the last batch
}

func (p *pipe) run() {
	lag := p.w.mostly(10, 150, 0.05, 500, 3000)
	p.w.after(lag, func() {
		if p.severed() {
			p.w.after(200, p.run)
			return
		}
		if p.w.o.crashes && p.batch > 0 && p.w.chance(0.03) {
			p.next -= p.batch
			p.w.counts.ReplicatorRepeats++
			p.w.trace("replicator", "batch repeated", p.from.items[p.next].origin, "")
		}
		if n := min(len(p.from.items)-p.next, int(p.w.between(1, 6))); n > 0 {
			p.to.append(p.from.items[p.next : p.next+n]...)
			p.next, p.batch = p.next+n, n
		}
		if p.next < len(p.from.items) {
			p.run()
		} else {
			p.from.waiting = append(p.from.waiting, p.run)
		}
	})
}

func (p *pipe) severed() bool {
	return p.w.clusterOf(p.from.origin.Unit).cut || p.target.cut
}

// logPipe copies a fact log to another unit.
type logPipe struct {
	w        *world
	from, to *factLog
	target   *cluster
}

func (p *logPipe) run() {
	p.w.after(p.w.mostly(10, 200, 0.05, 500, 3000), func() {
		if p.w.clusterOf(p.from.unit).cut || p.target.cut {
			p.w.after(200, p.run)
			return
		}
		p.to.append(p.from.bodies[len(p.to.bodies):]...)
		p.from.waiting = append(p.from.waiting, p.run)
	})
}
