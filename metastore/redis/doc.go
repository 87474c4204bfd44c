// Package redis is a metastore on Redis 6.2 to 8 or Valkey: a single server, Sentinel or Cluster.
//
// # What it promises
//
// Each change is one Lua script at the master: compare-and-set is exact as long as there is one master and it keeps its data. Reads
// go to the master, too. Revisions count the changes of one document and go on after its deletion, for which the revision stays behind.
//
// Redis copies to its replicas after it answered. A failover can lose accepted writes, as can a restart with appendfsync other than
// "always"; and for some seconds two masters may both answer. Three things make that visible, none makes it impossible:
//
//   - A revision lower than one seen before marks the store unsafe (msha.ErrUnsafe): tables are served, switching is refused.
//   - So does another history: each change has a random id, and a document keeps the first one and those of its last 16 changes. So a
//     change that was lost is known even if other changes have taken its revision since, and a Put or Delete that expects the lost one
//     is a conflict.
//   - Options.Replicas makes Put and Delete wait for replicas (WAIT). If too few have the change in time, the call fails although the
//     master has it: the caller must read again, as after any error that leaves the outcome open. It makes losses rare, not impossible:
//     a replica without the change may still be promoted.
//
// Only a process that saw the lost revision notices. The answer of a replica, to which a connection may still lead after a failover by
// hand, is refused and taken for no loss where it is older than what was seen. Where a lost switch cannot be accepted, use etcd.
//
// A request that may write is sent once: the client's own retries are off for it, because a compare-and-set whose answer was lost would
// conflict with itself the second time. A connection error of Put therefore leaves the outcome open.
//
// # How to run it
//
// Three failure domains: a master and its replica in the two sites, and Sentinels in both sites and a witness, with quorum 2. A single
// server dies with its site. Set
//
//	appendonly yes, appendfsync always     a restart loses nothing
//	maxmemory-policy noeviction            eviction deletes documents
//	min-replicas-to-write 1                a master that was cut off stops taking writes,
//	min-replicas-max-lag 5                 after 5 s
//
// # Keys
//
// All keys and channels of an installation share one hash slot, {Prefix}. Documents are few and small, and they are only useful
// together: on one master they are lost, or available, together; one connection for notices serves all of them, and one request
// refreshes the members of all sets of a process.
//
//	{msha}:doc:<name>    hash: revision, lineage and changes (ids of the first and of the last 16 changes), value (missing once deleted)
//	{msha}:set:<set>     hash: member id → its record; the empty id counts changes
//	{msha}:exp:<set>     sorted set: member id → when it expires, in ms of the server's clock
//
// Names are used as they are. Channels are named as the keys; a message is the new revision and only says "read again". Keyspace
// notifications are not needed. A message can be lost: everything is read again when the connection for notices is new, and every
// Options.Poll. A connection that leads nowhere is noticed after 8 s.
//
// # Members
//
// A member is refreshed three times in Options.MemberTTL, by one request per process, which writes only its expiry. The server's own
// clock decides, no clock of a client. A jump of it, or another clock after a failover, lists a dead member longer or drops a living one
// until its next refresh, which puts it back: members are information, never evidence.
//
// An idle process costs, with the defaults, 0.1 requests/s for its members, 0.25 pings/s on the connection for notices, 0.07 for each set
// and 0.02 for each document watched. A set that has not changed is not sent again.
//
// # Permissions
//
//	user msha on >secret resetkeys ~{msha}:* resetchannels &{msha}:* -@all +hello +auth +ping +select +role +wait
//	  +eval +evalsha +hmget +hget +hset +hdel +hexists +hgetall +time +zadd +zscore +zrem +zrangebyscore
//	  +publish +subscribe +unsubscribe, and in a cluster +cluster|slots +cluster|shards +command +asking
//
// The client library go-redis writes to a logger of its own (redis.SetLogger of that package), which this package leaves alone.
package redis
