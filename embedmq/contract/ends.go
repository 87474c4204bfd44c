package contract

import (
	"errors"
	"slices"
	"strconv"
	"strings"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/internal/remoting"
)

// endsOfTransactions looks at what tells how many transactions are open: half messages have ascending offsets in one queue, and each end
// names one of them. Other scenarios end transactions too.
func endsOfTransactions(e *env) {
	topic, _ := e.topic(1)
	half := remoting.Queue{Topic: "RMQ_SYS_TRANS_HALF_TOPIC", Broker: e.Broker}
	ends := remoting.Queue{Topic: "RMQ_SYS_TRANS_OP_HALF_TOPIC", Broker: e.Broker}
	before, err := e.cl.MaxOffset(e.ctx, half)
	e.must(err)
	res, err := e.cl.Send(e.ctx, remoting.Queue{Topic: topic, Broker: e.Broker}, "tx", &remoting.Message{
		Body: []byte("open"), SysFlag: remoting.SysTransPrepared, Properties: map[string]string{"TRAN_MSG": "true", "PGROUP": "tx", "UNIQ_KEY": "open"},
	})
	e.must(err)
	equal(e, "behind the others", res.QueueOffset >= before, true)
	_, phys, err := remoting.ParseMessageID(res.OffsetMsgID)
	e.must(err)
	e.want("end", e.call(remoting.ReqEndTransaction, ext("producerGroup", "tx", "tranStateTableOffset", res.QueueOffset, "commitLogOffset", phys,
		"commitOrRollback", remoting.SysTransRollback, "fromTransactionCheck", false, "msgId", "m", "transactionId", "m"), nil), 0)
	e.eventually("a record of the end", func() bool {
		end, err := e.cl.MaxOffset(e.ctx, ends)
		e.must(err)
		low, err := e.cl.MinOffset(e.ctx, ends)
		e.must(err)
		for low < end {
			got, err := e.cl.Pull(e.ctx, remoting.PullRequest{Queue: ends, Group: "g", Offset: low})
			if e.v4() && errors.Is(err, msha.ErrNotFound) {
				return true // it names the topic with its first check, minutes later; each record holds one end
			}
			e.must(err)
			for _, m := range got.Messages {
				if slices.Contains(strings.Split(string(m.Body), ","), strconv.FormatInt(res.QueueOffset, 10)) {
					equal(e, "tag of an end", m.Properties["TAGS"], "d")
					return true
				}
			}
			low = got.NextOffset
		}
		return false
	})
}
