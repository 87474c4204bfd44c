// Package embedmq is an in-process RocketMQ cluster: a name server and one or more master brokers that speak the remoting
// protocol over TCP on 127.0.0.1, so that unmodified clients work against it. It is to RocketMQ what miniredis is to Redis:
// everything lives in memory, or in memory and a folder (Options.Dir), time can be injected, and faults are values. Options.Accounts and
// Options.TLS close it to strangers.
//
//	c, err := embedmq.Start(nil)
//	defer c.Close()
//	p, err := rocketmq.NewProducer(producer.WithNameServer([]string{c.NameServer()}))
//
// Behaviour follows RocketMQ 5.4.0 with its default configuration, SQL filters switched off among it (Options.PropertyFilter), with one exception: here a message is visible to pulls
// and in the maximum offset as soon as its send is answered, where a real server dispatches it to its queue milliseconds later. Rules
// that surprise:
//
//   - A query for the offset of a group that has none (request 14) answers 0, not "not found", as long as the queue still
//     begins at offset 0 and its first message is in memory, which here is always; with the header setZeroIfNotFound=false, or
//     once the minimum was raised, it answers code 22. This is what ConsumerManageProcessor does.
//   - A send to a topic without write permission is accepted. Clients see the permission in the route and stay away.
//   - A delayed message keeps its DELAY property when it is delivered.
//   - A single message with an empty body is refused with code 1; inside a batch it is fine.
//   - A pull may bring an SQL92 expression, which counts whatever the group's members have registered. One that cannot be read filters
//     nothing: the pull gets every message. Only a heartbeat's bad expression makes pulls fail (code 27), and the request to check a
//     subscription (46) says so beforehand (code 23). How expressions are read is told at sqlFilter.
//   - A reset of a group's offset (222) is told to the group's next pull, once, whoever sends it; a held pull is told with the next message.
//     Until then commits are answered with success and ignored. With Options.ClientResets the connected clients are told (220).
//   - While a group itself holds unexpired queue locks, each send to its retry topic goes to its dead-letter topic.
//
// Delayed messages, lock expiry, client expiry, store timestamps and delays of faults follow Options.Clock. Long polling follows
// real time, because the clients that wait live in real time.
package embedmq
