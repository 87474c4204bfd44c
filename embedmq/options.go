package embedmq

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"time"

	msha "github.com/go-msha/msha"
)

// Options configures a cluster. A nil *Options and the zero value are valid.
type Options struct {
	Brokers          []string        // names of the brokers; default {"broker-a"}
	Cluster          string          // cluster name; default "DefaultCluster"
	Clock            Clock           // default: real time
	Logger           *slog.Logger    // default: discard
	AutoCreateTopics *bool           // create a topic at its first send (through TBW102); default true
	DefaultQueues    int             // queues of TBW102, the upper bound for automatically created topics; default 4
	DelayLevels      []time.Duration // default: the 18 levels of RocketMQ, 1s to 2h
	MaxMessageSize   int             // bytes of one message or batch; default 4 MiB
	MaxPullMessages  int             // messages in one answer to a pull; default 32
	MaxPullBytes     int             // bytes in one answer to a pull; default 256 KiB
	ClientExpiry     time.Duration   // a client without heartbeat for this long is dropped from its groups; default 120s
	LockExpiry       time.Duration   // a queue lock that was not renewed for this long is free; default 60s
	PropertyFilter   bool            // let subscriptions filter by SQL92 expressions (enablePropertyFilter); default false, as in RocketMQ
	ClientResets     bool            // reset a group's offsets through its consumers, as RocketMQ 4 does (useServerSideResetOffset=false); default false
	Dir              string          // folder where the brokers keep what they store, for one cluster at a time; default: memory only
	Accounts         []Account       // who may use the brokers; default (nil): everybody, without signatures
	TLS              *tls.Config     // of the name server and the brokers, which then speak nothing else; default: plain TCP
}

func defaultDelayLevels() []time.Duration {
	const s, m, h = time.Second, time.Minute, time.Hour
	return []time.Duration{s, 5 * s, 10 * s, 30 * s, m, 2 * m, 3 * m, 4 * m, 5 * m, 6 * m, 7 * m, 8 * m, 9 * m, 10 * m, 20 * m, 30 * m, h, 2 * h}
}

func (o *Options) withDefaults() *Options {
	var d Options
	if o != nil {
		d = *o
	}
	if len(d.Brokers) == 0 {
		d.Brokers = []string{"broker-a"}
	}
	if d.Cluster == "" {
		d.Cluster = "DefaultCluster"
	}
	if d.Clock == nil {
		d.Clock = realClock{}
	}
	if d.Logger == nil {
		d.Logger = slog.New(slog.DiscardHandler)
	}
	if d.AutoCreateTopics == nil {
		yes := true
		d.AutoCreateTopics = &yes
	}
	if d.DefaultQueues == 0 {
		d.DefaultQueues = 4
	}
	if d.DelayLevels == nil {
		d.DelayLevels = defaultDelayLevels()
	}
	if d.MaxMessageSize == 0 {
		d.MaxMessageSize = 4 << 20
	}
	if d.MaxPullMessages == 0 {
		d.MaxPullMessages = 32
	}
	if d.MaxPullBytes == 0 {
		d.MaxPullBytes = 256 << 10
	}
	if d.ClientExpiry == 0 {
		d.ClientExpiry = 120 * time.Second
	}
	if d.LockExpiry == 0 {
		d.LockExpiry = 60 * time.Second
	}
	return &d
}

// validate reports every problem at once.
func (o *Options) validate() error {
	var errs []error
	bad := func(format string, args ...any) {
		errs = append(errs, msha.Errorf("embedmq.start", "options", "", "%w: %s", msha.ErrInvalid, fmt.Sprintf(format, args...)))
	}
	seen := map[string]bool{}
	for _, b := range o.Brokers {
		if b == "" || b == NameServer || seen[b] {
			bad("broker name %q is empty, reserved or repeated", b)
		}
		seen[b] = true
	}
	if o.DefaultQueues < 0 || o.MaxMessageSize < 0 || o.MaxPullMessages < 0 || o.MaxPullBytes < 0 || o.ClientExpiry < 0 || o.LockExpiry < 0 {
		bad("negative limit")
	}
	keys := map[string]bool{}
	for _, a := range o.Accounts {
		if a.AccessKey == "" || a.SecretKey == "" || keys[a.AccessKey] {
			bad("account %q has no access key or no secret key, or is repeated", a.AccessKey)
		}
		keys[a.AccessKey] = true
	}
	if o.TLS != nil && len(o.TLS.Certificates) == 0 && o.TLS.GetCertificate == nil && o.TLS.GetConfigForClient == nil {
		bad("TLS without a certificate")
	}
	for i, d := range o.DelayLevels {
		if d < 0 {
			bad("delay level %d is negative", i+1)
		}
	}
	return errors.Join(errs...)
}
