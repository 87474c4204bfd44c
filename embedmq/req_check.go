package embedmq

import (
	"encoding/json"

	"github.com/go-msha/msha/internal/remoting"
)

// checkClient serves CHECK_CLIENT_CONFIG, which clients ask before they subscribe with an expression.
func (b *broker) checkClient(r *request) *remoting.Command {
	var body struct {
		Subscription *subscription `json:"subscriptionData"`
	}
	if err := json.Unmarshal(r.cmd.Body, &body); err != nil {
		return r.fail(remoting.RespSystemError, "body does not decode: %v", err)
	}
	s := body.Subscription
	if s == nil || isTag(s.ExpressionType) {
		return r.ok(nil)
	}
	if !b.c.opts.PropertyFilter {
		return errSQL(r, s.ExpressionType)
	}
	if _, err := compileSQL(s.SubString); err != nil || s.ExpressionType != remoting.SQL92 {
		return r.fail(remoting.RespSubscriptionParseFailed, "%s %q: %v", s.ExpressionType, s.SubString, err)
	}
	return r.ok(nil)
}
