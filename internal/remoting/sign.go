package remoting

import (
	"crypto/hmac"
	"crypto/sha1"
	"encoding/base64"
	"maps"
	"slices"
	"unicode/utf8"

	"github.com/go-msha/msha"
)

// Fields of a signed header.
const (
	ExtAccessKey     = "AccessKey"
	ExtSignature     = "Signature"
	ExtSecurityToken = "SecurityToken"
)

// sign puts the account and the signature into the header of c, which the caller gives away. RocketMQ's access control is the same in
// 4.x and, under the name ACL 2.0, in 5.x.
func sign(c *Command, cr msha.Credentials) {
	if cr == (msha.Credentials{}) {
		return
	}
	if c.appendBody != nil { // the header, which comes first, depends on it
		c.Body, c.appendBody = c.appendBody(nil), nil
	}
	if c.Ext == nil {
		c.Ext = map[string]string{}
	}
	for k, v := range c.Ext {
		if !utf8.ValidString(v) {
			c.Ext[k] = string([]rune(v)) // as the server will see it: it verifies what it decoded
		}
	}
	c.Ext[ExtAccessKey] = cr.AccessKey
	if cr.SecurityToken != "" {
		c.Ext[ExtSecurityToken] = cr.SecurityToken
	}
	c.Ext[ExtSignature] = Signature(c, cr.SecretKey)
}

// Signature is what a request must carry in its field ExtSignature if secret is the secret key of its account: an HMAC over the values
// of the other header fields, in the order of their names, and the body. client-go leaves the security token out of it; servers do not.
func Signature(c *Command, secret string) string {
	mac := hmac.New(sha1.New, []byte(secret))
	for _, k := range slices.Sorted(maps.Keys(c.Ext)) {
		if k != ExtSignature {
			mac.Write([]byte(c.Ext[k]))
		}
	}
	mac.Write(c.Body)
	return base64.StdEncoding.EncodeToString(mac.Sum(nil))
}

// Signed reports whether a request carries the signature of secret, in a time that does not depend on how close it comes.
func Signed(c *Command, secret string) bool {
	return hmac.Equal([]byte(Signature(c, secret)), []byte(c.Ext[ExtSignature]))
}
