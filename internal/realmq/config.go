package realmq

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Options describe a cluster. The zero value, and nil, are valid.
type Options struct {
	// Version of the server. Default V5.
	Version string
	// Brokers are the names of the (master) brokers. Default broker-a.
	Brokers []string
	// Slaves names the brokers that have a slave, which copies its master's log and is known by Slave's name. Default: none.
	Slaves []string
	// Cluster is the cluster's name. Default DefaultCluster.
	Cluster string
	// AutoCreateTopics lets a send to an unknown topic create it. Default true, as in the server.
	AutoCreateTopics *bool
	// DefaultQueues is the number of queues of an automatically created topic. Default 4; a client may ask for fewer.
	DefaultQueues int
	// DelayLevels replace the delays of level 1, 2, …; whole seconds only. Default: the server's 18 levels, from 1 s to 2 h.
	DelayLevels []time.Duration
	// PullCount raises the number of messages in one pull answer. Default: the server's 32.
	PullCount int
	// HeapMB is the heap of each broker. Default 256.
	HeapMB int
	// JavaFlags are added to the flags of each broker.
	JavaFlags []string
	// Accounts turn access control on. Default: everybody may do everything.
	Accounts []Account
	// CertFile and KeyFile (PEM, PKCS #8) let clients use TLS as well as plain TCP, with the brokers and the name server.
	CertFile, KeyFile string
	// Config sets any further property of the brokers, and overrides the ones above.
	Config map[string]string
}

func (o *Options) withDefaults() Options {
	var d Options
	if o != nil {
		d = *o
	}
	if d.Version == "" {
		d.Version = V5
	}
	if len(d.Brokers) == 0 {
		d.Brokers = []string{"broker-a"}
	}
	if d.Cluster == "" {
		d.Cluster = "DefaultCluster"
	}
	if d.AutoCreateTopics == nil {
		yes := true
		d.AutoCreateTopics = &yes
	}
	if d.DefaultQueues == 0 {
		d.DefaultQueues = 4
	}
	if d.HeapMB == 0 {
		d.HeapMB = 256
	}
	return d
}

func (o Options) validate() error {
	for _, d := range o.DelayLevels {
		if d <= 0 || d%time.Second != 0 {
			return fmt.Errorf("realmq: delay level %v: the server takes whole seconds", d)
		}
	}
	if slices.Contains(o.Brokers, "") {
		return fmt.Errorf("realmq: a broker has no name")
	}
	if sorted := slices.Sorted(slices.Values(o.Brokers)); len(slices.Compact(sorted)) != len(o.Brokers) {
		return fmt.Errorf("realmq: two brokers have one name: %s", strings.Join(o.Brokers, ", "))
	}
	for _, name := range o.Slaves {
		if !slices.Contains(o.Brokers, name) {
			return fmt.Errorf("realmq: there is no broker %q to have a slave", name)
		}
	}
	return o.validateAccounts()
}

// tlsFlags are for each JVM. Plain TCP stays possible: the servers use it among each other.
func (o Options) tlsFlags() []string {
	if o.CertFile == "" {
		return nil
	}
	return []string{"-Dtls.server.mode=permissive", "-Dtls.test.mode.enable=false", "-Dtls.config.file=none",
		"-Dtls.server.certPath=" + o.CertFile, "-Dtls.server.keyPath=" + o.KeyFile}
}

// brokerConfig is the property file of a broker. Files are small because every test has its own store.
func (o Options) brokerConfig(b *broker, nameServer string) string {
	id, role := "0", "ASYNC_MASTER"
	if b.slave {
		id, role = "1", "SLAVE"
	}
	p := map[string]string{
		"brokerClusterName":          o.Cluster,
		"brokerName":                 b.name,
		"brokerId":                   id,
		"brokerRole":                 role,
		"flushDiskType":              "ASYNC_FLUSH",
		"brokerIP1":                  loopback,
		"brokerIP2":                  loopback, // where slaves find it
		"namesrvAddr":                nameServer,
		"listenPort":                 strconv.Itoa(b.port),
		"haListenPort":               strconv.Itoa(b.port + 1),
		"storePathRootDir":           b.store(),
		"storePathCommitLog":         b.store() + "/commitlog",
		"autoCreateTopicEnable":      strconv.FormatBool(*o.AutoCreateTopics),
		"defaultTopicQueueNums":      strconv.Itoa(o.DefaultQueues),
		"mappedFileSizeCommitLog":    strconv.Itoa(32 << 20),
		"mappedFileSizeConsumeQueue": strconv.Itoa(20 * 20000),
		"mappedFileSizeTimerLog":     strconv.Itoa(4 << 20),
		"enablePropertyFilter":       "true", // switched off in the server's own configuration
		"maxHashSlotNum":             "10000",
		"maxIndexNum":                "40000",
		"diskMaxUsedSpaceRatio":      "95",
		// An idle broker would take half a core: 5.4.0 spins for the first interval of the one, and copies 38 MB in each of the other.
		"transactionMetricFlushInterval": "200",
		"timerFlushIntervalMs":           "30000",
		// A busy machine is no fault of the product: the server's 200 ms would fail sends with "broker busy".
		"waitTimeMillsInSendQueue":    "10000",
		"osPageCacheBusyTimeOutMills": "10000",
	}
	if len(o.DelayLevels) > 0 {
		var levels []string
		for _, d := range o.DelayLevels {
			levels = append(levels, strconv.Itoa(int(d/time.Second))+"s")
		}
		p["messageDelayLevel"] = strings.Join(levels, " ")
	}
	if o.PullCount > 0 {
		p["maxTransferCountOnMessageInMemory"] = strconv.Itoa(o.PullCount)
		p["maxTransferBytesOnMessageInMemory"] = strconv.Itoa(4 << 20)
	}
	maps.Copy(p, o.accessConfig())
	maps.Copy(p, o.Config)
	return properties(p)
}

func nameServerConfig(port int, home string) string {
	return properties(map[string]string{
		"listenPort":      strconv.Itoa(port),
		"bindAddress":     loopback,
		"rocketmqHome":    home,
		"kvConfigPath":    home + "/kvConfig.json",
		"configStorePath": home + "/namesrv.properties",
	})
}

func properties(p map[string]string) string {
	var b strings.Builder
	for _, k := range slices.Sorted(maps.Keys(p)) {
		fmt.Fprintf(&b, "%s=%s\n", k, p[k])
	}
	return b.String()
}

// logback is what 4.9.7 wants under its home, for each of its two programs.
const logback = `<configuration>
  <appender name="out" class="ch.qos.logback.core.ConsoleAppender">
    <encoder><pattern>%d{HH:mm:ss.SSS} %-5level %logger{0} - %msg%n</pattern></encoder>
  </appender>
  <root level="WARN"><appender-ref ref="out"/></root>
</configuration>
`
