package sim

// The mutations. Each leaves a step out where the agents and the manager of the model do it; production code is untouched.
const (
	NoRescanOnAcquire   Mutation = "no re-scan of what lies below the pull position on acquire"
	NoCloseBeforeAck    Mutation = "no Close before a retry copy is acknowledged unprocessed"
	NoVoid              Mutation = "no Close for the Open of a dead writer"
	DropOneAck          Mutation = "one acknowledgement of a fence is not waited for"
	DoneAfterAck        Mutation = "a retry copy is acknowledged before its Done is published"
	NoLogRead           Mutation = "a queue is pulled before the log was read to its end"
	VoidIsClose         Mutation = "Opens are voided though their writers live, and even if Sent came first"
	TrustSend           Mutation = "a retry copy without an answer counts as stored"
	HalfHandOver        Mutation = "a switch commits with half of the hand-over written"
	NoLock              Mutation = "queues change hands without their lock"
	ReleaseBeforeFacts  Mutation = "queues are released before the facts are published"
	HandOverIgnoresDone Mutation = "the hand-over ignores what was done"
	AckBeforeFacts      Mutation = "a fence is acknowledged before the facts are published"
	AckBeforeDrain      Mutation = "a fence is acknowledged while handlers still run"
	StaleJoin           Mutation = "a joining process reads the table before it can be seen"
	HeartbeatOpensGate  Mutation = "a heartbeat reopens a lapsed gate"
	LateRenewal         Mutation = "a lock that ran out is renewed as if it had not"
	LiveBeforeRescan    Mutation = "an ordered queue goes on while messages before it have to be read again"
	NoUnsettle          Mutation = "an ordered queue is not told of a route that has come"
	AlwaysFresh         Mutation = "any news from the log counts as its end"
)
