package realmq

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/internal/remoting"
)

// Account may use the brokers of a cluster with access control.
type Account struct {
	AccessKey, SecretKey string // at least 7 bytes each
	Admin                bool   // may do everything
	// Topics and Groups hold rights by name, such as "PUB|SUB|GET"; the name "*" stands for all that are not listed, and for version 5
	// a name that ends in "*" is a prefix. Version 4 knows PUB and SUB only, and the others are left out there.
	Topics, Groups map[string]string
}

// accessConfig turns access control on. Version 5 needs an administrator from the start, in whose name brokers talk to each other too.
func (o Options) accessConfig() map[string]string {
	switch {
	case len(o.Accounts) == 0:
		return nil
	case o.Version == V4:
		return map[string]string{"aclEnable": "true"}
	}
	admin := o.admin()
	user, _ := json.Marshal(map[string]string{"username": admin.AccessKey, "password": admin.SecretKey})
	inner, _ := json.Marshal(map[string]string{"accessKey": admin.AccessKey, "secretKey": admin.SecretKey})
	const providers = "org.apache.rocketmq.auth."
	return map[string]string{
		"authenticationEnabled": "true", "authorizationEnabled": "true",
		"authenticationProvider":               providers + "authentication.provider.DefaultAuthenticationProvider",
		"authenticationMetadataProvider":       providers + "authentication.provider.LocalAuthenticationMetadataProvider",
		"authorizationProvider":                providers + "authorization.provider.DefaultAuthorizationProvider",
		"authorizationMetadataProvider":        providers + "authorization.provider.LocalAuthorizationMetadataProvider",
		"initAuthenticationUser":               string(user),
		"innerClientAuthenticationCredentials": string(inner),
	}
}

func (o Options) admin() Account {
	for _, a := range o.Accounts {
		if a.Admin {
			return a
		}
	}
	return Account{}
}

func (o Options) validateAccounts() error {
	for _, a := range o.Accounts {
		if len(a.AccessKey) < 7 || len(a.SecretKey) < 7 {
			return fmt.Errorf("realmq: the keys of account %q must have 7 bytes or more", a.AccessKey)
		}
	}
	if len(o.Accounts) > 0 && o.admin().AccessKey == "" {
		return fmt.Errorf("realmq: no account is an administrator")
	}
	return nil
}

// plainACL is version 4's conf/plain_acl.yml.
func (o Options) plainACL() string {
	var b strings.Builder
	b.WriteString("accounts:\n")
	for _, a := range o.Accounts {
		fmt.Fprintf(&b, "- accessKey: %s\n  secretKey: %s\n  admin: %t\n", a.AccessKey, a.SecretKey, a.Admin)
		if a.Admin {
			continue
		}
		for kind, rights := range map[string]map[string]string{"Topic": a.Topics, "Group": a.Groups} {
			fmt.Fprintf(&b, "  default%sPerm: %s\n", kind, plainRight(rights["*"]))
			list := fmt.Sprintf("  %sPerms:\n", strings.ToLower(kind))
			for _, name := range slices.Sorted(maps.Keys(rights)) {
				if name != "*" {
					b.WriteString(list)
					list = ""
					fmt.Fprintf(&b, "  - %s=%s\n", name, plainRight(rights[name]))
				}
			}
		}
	}
	return b.String()
}

func plainRight(rights string) string {
	known := slices.DeleteFunc(strings.Split(rights, "|"), func(r string) bool { return r != "PUB" && r != "SUB" })
	if len(known) == 0 {
		return "DENY"
	}
	return strings.Join(known, "|")
}

// createAccounts tells version 5 of the accounts; its files are not for editing.
func (c *Cluster) createAccounts(ctx context.Context) error {
	if len(c.opts.Accounts) == 0 || c.opts.Version == V4 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	admin := c.opts.admin()
	client := remoting.NewClient(&remoting.Options{Logger: slog.New(slog.DiscardHandler), Credentials: msha.Credentials{AccessKey: admin.AccessKey, SecretKey: admin.SecretKey}})
	defer client.Close()
	const createUser, createACL = 3001, 3006
	for _, a := range c.opts.Accounts {
		for _, broker := range c.opts.Brokers {
			if a.AccessKey == admin.AccessKey {
				continue
			}
			kind := "Normal"
			if a.Admin {
				kind = "Super"
			}
			err := ask(ctx, client, c.Addr(broker), createUser, "username", a.AccessKey, map[string]string{"password": a.SecretKey, "userType": kind})
			if entries := a.entries(); err == nil && len(entries) > 0 {
				err = ask(ctx, client, c.Addr(broker), createACL, "subject", "User:"+a.AccessKey,
					map[string]any{"policies": []any{map[string]any{"policyType": "Custom", "entries": entries}}})
			}
			if err != nil {
				return fmt.Errorf("realmq: account %s at %s: %w", a.AccessKey, broker, err)
			}
		}
	}
	return nil
}

func (a Account) entries() (all []any) {
	for kind, rights := range map[string]map[string]string{"Topic": a.Topics, "Group": a.Groups} {
		for name, actions := range rights {
			all = append(all, map[string]any{"resource": kind + ":" + name, "actions": strings.Split(actions, "|"), "decision": "Allow"})
		}
	}
	return all
}

func ask(ctx context.Context, c *remoting.Client, addr string, code int, field, value string, body any) error {
	b, err := json.Marshal(body)
	if err != nil {
		return err
	}
	resp, err := c.Call(ctx, addr, remoting.NewRequest(code, map[string]string{field: value}, b))
	if err == nil && resp.Code != remoting.RespSuccess {
		err = fmt.Errorf("code %d: %s", resp.Code, resp.Remark)
	}
	return err
}
