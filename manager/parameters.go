package manager

import (
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"unicode"

	"github.com/go-msha/msha"
)

// parameters are those that a request may have. What a manager is asked to do moves routes, so nothing of a request is passed over: neither names
// that it does not know, nor what it cannot read, nor empty values, which a script makes of a variable that is not set.
type parameters struct {
	lists  []string // names with commas between them; repeated ones add up
	flags  []string // true, false, or the bare name, which is true
	single []string
}

var (
	switchParameters = parameters{lists: []string{"values", "allow-unmanaged", "override"}, flags: []string{"create", "forced", dryRunFlag}, single: []string{"from", "to", "deadline", "by"}}
	replayParameters = parameters{lists: []string{"values", "topics", "units", "allow-unmanaged", "override"}, flags: []string{"partial", dryRunFlag},
		single: []string{"from", "group", "since", "until", "deadline", "by"}}
	rejoinParameters    = parameters{flags: []string{"lost"}, single: []string{"unit", "by"}}
	provisionParameters = parameters{lists: []string{"topics"}, single: []string{"unit", "group", "start", "by"}}
	decisionParameters  = parameters{single: []string{"step", "by", "note"}}
	eventParameters     = parameters{single: []string{"task"}}
	addRuleParameters   = parameters{single: []string{"rule", "by", "owner"}}
	dropRuleParameters  = parameters{single: []string{"rule", "by"}}
)

// dryRunFlag is true with nothing behind its equals sign, too: whoever wrote it wants nothing to happen. Other flags do something.
const dryRunFlag = "dry-run"

// of reads the parameters of a request. Lists are taken apart, flags that are there are "true" or "false".
func (p parameters) of(r *http.Request) (url.Values, error) {
	if r.Body == nil {
		r.Body = http.NoBody
	}
	if n, _ := io.ReadFull(r.Body, make([]byte, 1)); n > 0 {
		return nil, refused("", "write them into the URL, behind a question mark", "a request has no body: parameters in it would not be read")
	}
	return p.parse(r.URL.RawQuery)
}

func (p parameters) parse(query string) (url.Values, error) {
	q := url.Values{}
	for pair := range strings.SplitSeq(query, "&") {
		if pair == "" {
			continue
		}
		parsed, err := url.ParseQuery(pair)
		if err != nil {
			return nil, refused(pair, "write % as %25, a semicolon as %3B, a space as %20", err.Error())
		}
		_, raw, valued := strings.Cut(pair, "=")
		for name, values := range parsed {
			if err := p.add(q, name, raw, values[0], valued); err != nil {
				return nil, err
			}
		}
	}
	return q, nil
}

// add puts one parameter to the others; raw is its value as the URL has it.
func (p parameters) add(q url.Values, name, raw, value string, valued bool) (err error) {
	list := slices.Contains(p.lists, name)
	switch {
	case list:
		names, err := split(name, raw)
		q[name] = append(q[name], names...)
		return err
	case q.Has(name):
		return refused(name, "give it once", "repeated parameter")
	case slices.Contains(p.flags, name):
		value, err = truth(name, value, valued)
	case !slices.Contains(p.single, name):
		return refused(name, "known parameters: "+strings.Join(slices.Concat(p.lists, p.flags, p.single), ", "), "unknown parameter")
	case value == "":
		return empty(name)
	}
	q.Set(name, value)
	return err
}

func truth(name, value string, valued bool) (string, error) {
	switch strings.ToLower(value) {
	case "":
		if valued && name != dryRunFlag {
			return "", empty(name)
		}
		return "true", nil
	case "true", "1", "t":
		return "true", nil
	case "false", "0", "f":
		return "false", nil
	}
	return "", refused(name+"="+value, "use true or false", "not a truth value")
}

// split takes a list apart, as the URL has it; spaces around a name do not count.
func split(parameter, raw string) (names []string, err error) {
	for part := range strings.SplitSeq(raw, ",") {
		decoded, err := url.QueryUnescape(part)
		if err != nil {
			return nil, refused(parameter+"="+raw, "", err.Error())
		}
		inside := strings.Split(decoded, ",") // commas that the URL has as %2C
		for i, name := range inside {
			if i < len(inside)-1 && escapes(strings.TrimSpace(name)) {
				return nil, refused(parameter+"="+raw, "in a URL the % of a name is written %25, as in @exact:a%252Cb; give lists as "+parameter+"=a&"+parameter+"=b",
					"%2C may belong to a name or to the list")
			}
			if err := spelled(parameter, name); err != nil {
				return nil, err
			}
			if name = strings.TrimSpace(name); name != "" {
				names = append(names, name)
			}
		}
	}
	if len(names) == 0 {
		return nil, empty(parameter)
	}
	return names, nil
}

// escapes tells whether %XX stands for a character in such a name.
func escapes(name string) bool {
	for _, kind := range []msha.RuleKind{msha.RuleExact, msha.RuleUnit, msha.RuleRange} {
		if strings.HasPrefix(name, msha.RulePrefix+string(kind)+":") {
			return true
		}
	}
	return false
}

// spelled refuses a name of a rule that holds what msha.RuleName writes as %XX. It was written into a URL as it is, and the URL has used its
// escapes up: @exact:100%2525 is the value 100%25, and @exact:100%25 in a URL would be a wrong one.
func spelled(parameter, name string) error {
	name = strings.TrimLeftFunc(name, unicode.IsSpace) // behind the name it may belong to it
	if !escapes(name) {
		return nil
	}
	const hint = "the % of a name is written %25 in a URL, as in @exact:a%252Cb"
	if strings.HasPrefix(name, msha.RulePrefix+string(msha.RuleRange)) && strings.Contains(name, "...") { // one of the full stops is a bound's
		return refused(parameter+"="+name, hint, "the name is not written as names are")
	}
	rule, err := msha.ParseRule(name)
	if err != nil {
		return refused(parameter+"="+name, hint, err.Error())
	}
	canonical := msha.RuleName(rule)
	if rule.Kind != msha.RuleRange { // the long form, also of a value that needs none
		canonical = msha.RulePrefix + string(rule.Kind) + ":" + strings.TrimPrefix(msha.RuleName(msha.Rule{Kind: msha.RuleExact, Value: msha.RulePrefix + rule.Value}), "@exact:@")
	}
	stops := strings.NewReplacer("%2E", ".", "%2e", ".") // are written as they are where that cannot be misread
	if !strings.EqualFold(stops.Replace(canonical), stops.Replace(name)) {
		return refused(parameter+"="+name, hint, "the name is not written as names are")
	}
	return nil
}

func empty(name string) error {
	return refused(name, "give it a value, or leave it out", "empty parameter")
}

func refused(where, hint, what string) error {
	return msha.Errorf("switch.request", where, hint, "%w: %s", msha.ErrInvalid, what)
}
