package remoting

// Request codes.
const (
	ReqSendMessage              = 10
	ReqPullMessage              = 11
	ReqQueryConsumerOffset      = 14
	ReqUpdateConsumerOffset     = 15
	ReqUpdateAndCreateTopic     = 17
	ReqGetAllTopicConfig        = 21
	ReqGetBrokerConfig          = 26
	ReqGetBrokerRuntimeInfo     = 28
	ReqSearchOffsetByTimestamp  = 29
	ReqGetMaxOffset             = 30
	ReqGetMinOffset             = 31
	ReqViewMessageByID          = 33
	ReqHeartbeat                = 34
	ReqUnregisterClient         = 35
	ReqConsumerSendMsgBack      = 36
	ReqEndTransaction           = 37
	ReqGetConsumerListByGroup   = 38
	ReqNotifyConsumerIDsChanged = 40
	ReqLockBatchMQ              = 41
	ReqUnlockBatchMQ            = 42
	ReqGetAllConsumerOffset     = 43
	ReqCheckClientConfig        = 46
	ReqGetRouteInfoByTopic      = 105
	ReqGetBrokerClusterInfo     = 106
	ReqUpdateAndCreateGroup     = 200
	ReqGetAllGroups             = 201
	ReqGetTopicStats            = 202
	ReqGetConsumerConnections   = 203
	ReqGetAllTopicList          = 206
	ReqDeleteGroup              = 207
	ReqGetConsumeStats          = 208
	ReqDeleteTopicInBroker      = 215
	ReqDeleteTopicInNameServer  = 216
	ReqResetConsumerOffset      = 220 // a broker to its consumers
	ReqInvokeResetOffset        = 222 // an operator to a broker
	ReqSendMessageV2            = 310
	ReqSendBatchMessage         = 320
	ReqGetTopicConfig           = 351
)

// Response codes.
const (
	RespSuccess                 = 0
	RespSystemError             = 1
	RespSystemBusy              = 2
	RespRequestCodeNotSupported = 3
	RespFlushDiskTimeout        = 10
	RespSlaveNotAvailable       = 11
	RespFlushSlaveTimeout       = 12
	RespMessageIllegal          = 13
	RespServiceNotAvailable     = 14
	RespVersionNotSupported     = 15
	RespNoPermission            = 16
	RespTopicNotExist           = 17
	RespTopicExistAlready       = 18
	RespPullNotFound            = 19
	RespPullRetryImmediately    = 20
	RespPullOffsetMoved         = 21
	RespQueryNotFound           = 22
	RespSubscriptionParseFailed = 23
	RespSubscriptionNotExist    = 24
	RespSubscriptionNotLatest   = 25
	RespSubscriptionGroupAbsent = 26
	RespFilterDataNotExist      = 27
	RespFilterDataNotLatest     = 28
	RespInvalidParameter        = 29
	RespConsumerNotOnline       = 206
)
