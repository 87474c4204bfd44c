package main

import (
	"fmt"
	"hash/fnv"
	"os"
	"sync/atomic"
	"time"

	"github.com/apache/rocketmq-client-go/v2/primitive"

	"github.com/go-msha/msha/internal/chaos"
)

const (
	cityProperty = "city"
	workTime     = 20 * time.Millisecond
	slowWorkTime = 200 * time.Millisecond
	failPercent  = 5
	handlers     = 8 // at once, in each process
)

// worker is the application's own work, the same for all sides.
type worker struct {
	journal *chaos.Journal
	slow    string
	seed    uint64
	runs    atomic.Int64
}

// work reports whether it ended well; a few messages fail at their first attempt, which is 0.
func (w *worker) work(m *primitive.MessageExt, attempt int32) bool {
	n, key, city := int(w.runs.Add(1)), m.GetKeys(), m.GetProperty(cityProperty)
	w.note(chaos.Start, n, key, city)
	if _, err := os.Stat(w.slow); err == nil {
		time.Sleep(slowWorkTime)
	} else {
		time.Sleep(workTime)
	}
	if attempt == 0 && fails(w.seed, key) {
		w.note(chaos.Fail, n, key, city)
		return false
	}
	w.note(chaos.End, n, key, city)
	return true
}

func fails(seed uint64, key string) bool {
	h := fnv.New32a()
	fmt.Fprintf(h, "%d %s", seed, key)
	return h.Sum32()%100 < failPercent
}

// note panics if the journal cannot be written: what is not in it did not happen.
func (w *worker) note(e chaos.Event, run int, key, city string) {
	if err := w.journal.Write(e, run, key, city); err != nil {
		panic(err)
	}
}
