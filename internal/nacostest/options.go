package nacostest

import (
	"log/slog"
	"time"
)

// Options of a server. The zero value of each field stands for its default; nil options are valid.
type Options struct {
	Faults     Faults        // at the start; changed later by Server.Set
	User       string        // whose token each request must carry; default "": no authentication
	Password   string        // of User
	ReadOnly   bool          // User may not write
	TokenTTL   time.Duration // of a login; default 5 h
	Namespaces []string      // that exist, besides the default one; nil: all do, as the real server does not check unless told to
	MaxContent int           // characters of a document; default 10 MiB, the real server's maxContent
	MaxMessage int           // bytes of a request on the wire; default 10 MiB, as the real server
	KeepAlive  time.Duration // silence after which a client is asked for a sign of life, and dropped after a quarter more; default 20 s
	Logger     *slog.Logger  // default: none
}

// Faults are what may go wrong. They apply to requests that begin after they were set.
type Faults struct {
	IgnoreCas     bool          // casMd5 is not looked at, as by r-nacos
	SilentCas     bool          // a publish with another md5 is not stored and told it succeeded, as by the embedded storage before 2.2.1
	FailedInserts int           // so many publishes of missing documents fail, as while the storage has no leader
	BusyReads     bool          // each document is just being written to the server's disk
	Starting      bool          // requests are refused, as before the server has read its documents
	StaleReads    time.Duration // for so long after a publish reads return the content before it, and the push waits as long
	DropPushes    bool          // notices of changes get lost
	Latency       time.Duration // added to each request
	SloppyInserts bool          // two racing creations are both told they succeeded, as by the embedded storage; the first one's content stays
	LateInstances time.Duration // an instance is listed so long after it was registered
	LostAnswers   bool          // requests are carried out and not answered
	NoNaming      bool          // requests about instances find no handler
}

func (o *Options) withDefaults() Options {
	var d Options
	if o != nil {
		d = *o
	}
	if d.TokenTTL <= 0 {
		d.TokenTTL = 5 * time.Hour
	}
	if d.MaxContent <= 0 {
		d.MaxContent = 10 << 20
	}
	if d.MaxMessage <= 0 {
		d.MaxMessage = 10 << 20
	}
	if d.KeepAlive <= 0 {
		d.KeepAlive = 20 * time.Second
	}
	if d.Logger == nil {
		d.Logger = slog.New(slog.DiscardHandler)
	}
	return d
}
