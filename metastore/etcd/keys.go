package etcd

import (
	"net/url"
	"strings"
)

// layout says where things are. Documents may have any name: it is the end of the key as it stands.
type layout struct{ prefix string }

func (l layout) all() string { return l.prefix + "/" }

func (l layout) document(key string) string { return l.prefix + "/documents/" + key }

// set is the beginning of the keys of a set's members. The name is escaped, so that no set lies within another one.
func (l layout) set(set string) string { return l.prefix + "/members/" + url.PathEscape(set) + "/" }

func (l layout) member(set, id string) string { return l.set(set) + id }

// memberID is the inverse of member.
func (l layout) memberID(set, key string) string { return strings.TrimPrefix(key, l.set(set)) }
