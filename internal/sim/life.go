package sim

// life is whether a process runs: what happens in it does not once it is dead, and happens later while it is frozen.
type life struct {
	dead     bool
	frozen   bool
	deferred []func()
}

// on runs f in the process: never if it is dead, later if it is frozen.
func (l *life) on(f func()) {
	switch {
	case l.dead:
	case l.frozen:
		l.deferred = append(l.deferred, f)
	default:
		f()
	}
}

// thaw lets a frozen process go on with what has come meanwhile.
func (l *life) thaw() {
	l.frozen = false
	deferred := l.deferred
	l.deferred = nil
	for _, f := range deferred {
		l.on(f)
	}
}
