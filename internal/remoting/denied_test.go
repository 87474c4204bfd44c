package remoting

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/go-msha/msha"
)

// Remarks as RocketMQ 4.9.7 and 5.4.0 make them.
const (
	noKey4      = "org.apache.rocketmq.acl.common.AclException: No accessKey is configured, org.apache.rocketmq.acl.plain.PlainPermissionManager.validate(PlainPermissionManager.java:663)"
	unknown4    = "org.apache.rocketmq.acl.common.AclException: No acl config for someone, org.apache"
	signature4  = "org.apache.rocketmq.acl.common.AclException: Check signature failed for accessKey=someone, org.apache"
	permission4 = "org.apache.rocketmq.acl.common.AclException: No default permission for topic=SMS, org.apache"
	noKey5      = "username cannot be null."
	unknown5    = "User:someone is not found."
	signature5  = "check signature failed."
	permission5 = "User:someone has no permission to access Topic:SMS from 127.0.0.1, no matched policies."
)

func TestRefusalsSayWhatToDo(t *testing.T) {
	f := startFake(t, "127.0.0.1:0")
	ctx := testContext(t)
	someone := msha.Credentials{AccessKey: "someone", SecretKey: "hidden", SecurityToken: "hidden"}
	send := func(cl *Cluster) error {
		_, err := cl.Send(ctx, queueA, "g", &Message{Body: []byte("x")})
		return err
	}
	retry := func(cl *Cluster) error {
		_, err := cl.Send(ctx, Queue{Topic: "%RETRY%channel", Broker: "broker-a"}, "channel", &Message{Body: []byte("x")})
		return err
	}
	members := func(cl *Cluster) error {
		_, err := cl.ConsumerIDs(ctx, f.addr, "channel")
		return err
	}
	pull := func(cl *Cluster) error {
		_, err := cl.Pull(ctx, PullRequest{Queue: queueA, Group: "channel"})
		return err
	}
	create := func(cl *Cluster) error { return cl.CreateTopic(ctx, f.addr, TopicConfig{Name: "new"}) }
	brokers := func(cl *Cluster) error {
		_, err := cl.ClusterNames(ctx)
		return err
	}
	for _, c := range []struct {
		request, code int
		remark        string
		call          func(*Cluster) error
		as            msha.Credentials
		hint          string
	}{
		{ReqSendMessageV2, RespSystemError, permission4, send, someone, "account someone needs PUB on topic SMS"},
		{ReqSendMessageV2, RespNoPermission, permission5, send, someone, "account someone needs PUB on topic SMS"},
		{ReqSendMessageV2, RespNoPermission, permission5, retry, someone, "account someone needs SUB on group channel"},
		{ReqGetConsumerListByGroup, RespSystemError, permission4, members, someone, "account someone needs SUB on group channel"},
		{ReqPullMessage, RespSystemError, permission4, pull, someone, "account someone needs SUB on topic SMS and on group channel"},
		{ReqPullMessage, RespNoPermission, "the topic[SMS] pulling message is forbidden", pull, someone, "look at the permission bits of the topic"},
		{ReqUpdateAndCreateTopic, RespSystemError, permission4, create, someone, "CREATE on topic new (RocketMQ 4: an account with admin: true)"},
		{ReqSendMessageV2, RespSystemError, signature4, send, someone, "the secret key of account someone is not the one"},
		{ReqSendMessageV2, RespNoPermission, signature5, send, someone, "the secret key of account someone is not the one"},
		{ReqPullMessage, RespSystemError, unknown4, pull, someone, "the broker does not know account someone"},
		{ReqPullMessage, RespNoPermission, unknown5, pull, someone, "the broker does not know account someone"},
		{ReqGetConsumerListByGroup, RespSystemError, noKey4, members, msha.Credentials{}, "this client has none"},
		{ReqGetConsumerListByGroup, RespNoPermission, noKey5, members, msha.Credentials{}, "this client has none"},
		{ReqGetBrokerClusterInfo, RespNoPermission, permission5, brokers, someone, "account someone lacks a right"},
	} {
		cl := NewCluster([]string{f.addr}, newClient(t, &Options{Credentials: c.as}))
		if c.request != ReqGetBrokerClusterInfo {
			_, err := cl.Brokers(ctx)
			require.NoError(t, err)
		}
		f.on(c.request, say(c.code, c.remark, nil, ""))
		views := []*Cluster{cl}
		if c.request != ReqGetBrokerClusterInfo {
			views = append(views, cl.Pin())
		}
		for _, view := range views {
			err := c.call(view)
			require.ErrorIs(t, err, msha.ErrDenied, c.remark)
			var be *BrokerError
			require.ErrorAs(t, err, &be)
			require.Equal(t, c.code, be.Code)
			require.ErrorContains(t, err, c.remark)
			require.ErrorContains(t, err, c.hint)
			require.NotContains(t, err.Error(), "hidden")
		}
	}
}

func TestOtherErrorsAreNoRefusals(t *testing.T) {
	f := startFake(t, "127.0.0.1:0")
	cl := NewCluster([]string{f.addr}, newClient(t, nil))
	f.on(ReqGetConsumerListByGroup, say(RespSystemError, "no consumer for this group, channel", nil, ""))
	ids, err := cl.ConsumerIDs(context.Background(), f.addr, "channel")
	require.NoError(t, err)
	require.Empty(t, ids)
	f.on(ReqGetMaxOffset, say(RespSystemBusy, "busy", nil, ""))
	_, err = cl.MaxOffset(testContext(t), queueA)
	require.NotErrorIs(t, err, msha.ErrDenied)
}
