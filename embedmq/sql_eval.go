package embedmq

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
)

func sqlConstant(v any) sqlExpr {
	_, isBool := v.(bool)
	return sqlExpr{eval: func(map[string]string) (any, error) { return v, nil }, boolean: isBool || v == nil, constant: true, value: v}
}

func sqlProperty(name string) sqlExpr {
	return sqlExpr{property: true, eval: func(props map[string]string) (any, error) {
		if v, ok := props[name]; ok {
			return v, nil
		}
		return nil, nil
	}}
}

// sqlLogic is a boolean expression.
func sqlLogic(eval func(props map[string]string) (any, error)) sqlExpr {
	return sqlExpr{boolean: true, eval: eval}
}

// asBoolean lets a property stand for a boolean, which it never is.
func asBoolean(e sqlExpr) (sqlExpr, error) {
	switch {
	case e.boolean:
		return e, nil
	case !e.property:
		return e, errors.New("not a boolean expression")
	}
	return sqlLogic(func(props map[string]string) (any, error) {
		v, err := e.eval(props)
		if v == nil {
			return nil, err
		}
		return false, err
	}), nil
}

func sqlOr(l, r sqlExpr) sqlExpr  { return sqlJoin(l, r, true) }
func sqlAnd(l, r sqlExpr) sqlExpr { return sqlJoin(l, r, false) }

// sqlJoin is decided as soon as one side has the deciding value; without that an unknown side makes it unknown.
func sqlJoin(l, r sqlExpr, deciding bool) sqlExpr {
	return sqlLogic(func(props map[string]string) (any, error) {
		lv, err := l.eval(props)
		if err != nil || lv == deciding {
			return lv, err
		}
		rv, err := r.eval(props)
		if err != nil || rv == deciding || lv != nil {
			return rv, err
		}
		return nil, nil
	})
}

func sqlNot(e sqlExpr) sqlExpr {
	return sqlLogic(func(props map[string]string) (any, error) {
		v, err := e.eval(props)
		if b, ok := v.(bool); ok {
			return !b, err
		}
		return nil, err
	})
}

func sqlNegate(e sqlExpr) sqlExpr {
	return sqlExpr{eval: func(props map[string]string) (any, error) {
		v, err := e.eval(props)
		switch n := v.(type) {
		case int32:
			return -n, err
		case int64:
			return -n, err
		case float64:
			return -n, err
		}
		return nil, err
	}}
}

func sqlEqual(l, r sqlExpr) (sqlExpr, error) {
	switch {
	case l.constant && l.value == nil, r.constant && r.value == nil:
		return l, errors.New("NULL cannot be compared")
	case l.constant && r.constant && l.boolean && !r.boolean:
		return l, errors.New("a boolean cannot be compared with this")
	}
	return sqlSame(l, r), nil
}

func sqlSame(l, r sqlExpr) sqlExpr {
	return sqlLogic(func(props map[string]string) (any, error) {
		lv, rv, err := evalBoth(l, r, props)
		switch {
		case err != nil:
			return nil, err
		case lv == nil && rv != nil:
			return nil, nil
		case rv == nil:
			return lv == nil, nil
		case lv == rv:
			return true, nil
		}
		n, err := sqlCompare(lv, rv)
		return n == 0, err
	})
}

func evalBoth(l, r sqlExpr, props map[string]string) (lv, rv any, err error) {
	if lv, err = l.eval(props); err == nil {
		rv, err = r.eval(props)
	}
	return lv, rv, err
}

func sqlOrder(l sqlExpr, sign string, r sqlExpr) (sqlExpr, error) {
	for _, e := range []sqlExpr{l, r} {
		if _, isString := e.value.(string); e.boolean || isString {
			return l, fmt.Errorf("%s takes numbers", sign)
		}
	}
	return sqlLogic(func(props map[string]string) (any, error) {
		lv, rv, err := evalBoth(l, r, props)
		if err != nil || lv == nil || rv == nil {
			return nil, err
		}
		_, lString := lv.(string)
		if rs, ok := rv.(string); ok && lString {
			if rv, err = javaDouble(rs); err != nil {
				return nil, err
			}
		}
		n, err := sqlCompare(lv, rv)
		switch sign {
		case ">":
			return n > 0, err
		case ">=":
			return n >= 0, err
		case "<":
			return n < 0, err
		}
		return n <= 0, err
	}), nil
}

func sqlBetween(e, low, high sqlExpr, not bool) (sqlExpr, error) {
	if low.constant && high.constant && !not {
		if low.value == nil || high.value == nil {
			return e, errors.New("BETWEEN takes no NULL")
		}
		if n, err := sqlCompare(high.value, low.value); err != nil || n < 0 {
			return e, errors.New("BETWEEN takes the lower value first")
		}
	}
	first, second, join := ">=", "<=", sqlAnd
	if not {
		first, second, join = "<", ">", sqlOr
	}
	l, err := sqlOrder(e, first, low)
	if err != nil {
		return e, err
	}
	r, err := sqlOrder(e, second, high)
	if err != nil {
		return e, err
	}
	return join(l, r), nil
}

func sqlIn(e sqlExpr, set map[string]bool, not bool) sqlExpr {
	return sqlLogic(func(props map[string]string) (any, error) {
		v, err := e.eval(props)
		if s, ok := v.(string); ok {
			return set[s] != not, err
		}
		return nil, err
	})
}

// sqlSearch is false for what is no string, and for an empty part, NOT or not.
func sqlSearch(e sqlExpr, how func(s, part string) bool, part string, not bool) sqlExpr {
	return sqlLogic(func(props map[string]string) (any, error) {
		if part == "" {
			return false, nil
		}
		v, err := e.eval(props)
		s, ok := v.(string)
		return ok && how(s, part) != not, err
	})
}

// sqlCompare brings two values to one type and compares them; values of types that have nothing in common are in no order, which counts
// as below.
func sqlCompare(l, r any) (n int, err error) {
	ls, lString := l.(string)
	rs, rString := r.(string)
	switch {
	case lString && rString:
		return cmp.Compare(ls, rs), nil
	case lString:
		l, err = javaParse(ls, r)
	case rString:
		if _, isBool := l.(bool); isBool {
			return 0, errors.New("a boolean on the left of a string") // an error of the server's own, with the same effect
		}
		r, err = javaParse(rs, l)
	}
	if err != nil {
		return 0, err
	}
	lb, lBool := l.(bool)
	rb, rBool := r.(bool)
	switch {
	case lBool && rBool:
		return cmp.Compare(bit(lb), bit(rb)), nil
	case lBool || rBool:
		return -1, nil
	}
	lf, lFloat := l.(float64)
	rf, rFloat := r.(float64)
	if !lFloat && !rFloat {
		return cmp.Compare(toInt(l), toInt(r)), nil
	}
	if !lFloat {
		lf = float64(toInt(l))
	}
	if !rFloat {
		rf = float64(toInt(r))
	}
	return javaCompare(lf, rf), nil
}

func bit(b bool) int {
	if b {
		return 1
	}
	return 0
}

func toInt(v any) int64 {
	if n, ok := v.(int32); ok {
		return int64(n)
	}
	n, _ := v.(int64)
	return n
}

// javaCompare is Double.compareTo: NaN is the highest, -0 below 0.
func javaCompare(l, r float64) int {
	switch {
	case math.IsNaN(l) || math.IsNaN(r):
		return cmp.Compare(bit(math.IsNaN(l)), bit(math.IsNaN(r)))
	case l == 0 && r == 0:
		return cmp.Compare(bit(math.Signbit(r)), bit(math.Signbit(l)))
	}
	return cmp.Compare(l, r)
}

// javaParse reads a property as the type of the value it is compared with.
func javaParse(s string, like any) (any, error) {
	switch like.(type) {
	case bool:
		return strings.EqualFold(s, "true"), nil
	case int32:
		n, err := strconv.ParseInt(s, 10, 32)
		return int32(n), err
	case int64:
		return strconv.ParseInt(s, 10, 64)
	}
	return javaDouble(s)
}

var javaDoubleForm = regexp.MustCompile(`\A([+-]?(?:NaN|Infinity|(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?|0[xX](?:[0-9a-fA-F]+\.?|[0-9a-fA-F]*\.[0-9a-fA-F]+)[pP][+-]?[0-9]+))([fFdD]?)\z`)

// javaDouble is Double.valueOf: spaces around a number and a suffix are fine, an overflow is infinite.
func javaDouble(s string) (float64, error) {
	part := javaDoubleForm.FindStringSubmatch(strings.TrimFunc(s, func(r rune) bool { return r <= ' ' }))
	switch {
	case part == nil, part[2] != "" && (strings.HasSuffix(part[1], "NaN") || strings.HasSuffix(part[1], "Infinity")):
		return 0, fmt.Errorf("%q is no number", s)
	case strings.HasSuffix(part[1], "NaN"): // with a sign too
		return math.NaN(), nil
	}
	v, err := strconv.ParseFloat(part[1], 64)
	if errors.Is(err, strconv.ErrRange) {
		err = nil
	}
	return v, err
}
