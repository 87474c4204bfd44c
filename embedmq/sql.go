package embedmq

import (
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"

	msha "github.com/go-msha/msha"
)

// sqlFilter is a compiled SQL92 expression. It reads a text as RocketMQ 5.4.0 does, with the surprises of that:
//
//   - Reading ends where the text no longer continues an expression, and the rest is ignored: a = 'x' LIKE 'y' is a = 'x', and
//     city LIKE 'b%' is city, which is never true. Only a character that begins no token makes the text bad, and whatever is wrong inside
//     parentheses.
//   - A property is a string. Next to a number it is converted to that number's type: 5 fits 32 bits, so the property "3000000000" is
//     neither above it nor below, and neither is "5.5"; both compare with 5.5. One that cannot be converted ends the evaluation: the message
//     does not match, whatever the rest says, unless it was decided before.
//   - A comparison with a missing property is unknown, as in SQL; but if the left side is there, = is false and <> is true, and two missing
//     properties are equal.
//   - NOT binds to what follows it at once: NOT a = 5 is (NOT a) = 5, which is never true. A property alone is true for no message, its NOT for
//     each that has it.
//   - 0.0 is refused as too small, a string next to <, <=, > or >= too; IN takes strings only.
//
// Not as there: digits outside ASCII are no digits.
type sqlFilter struct{ e sqlExpr }

// sqlExpr is a node; the other fields are what the grammar wants to know of an operand.
type sqlExpr struct {
	eval     func(props map[string]string) (any, error) // nil, bool, string, int32, int64 or float64
	boolean  bool
	property bool
	constant bool
	value    any // of a constant
}

// sqlNesting bounds how deep parentheses, signs and NOTs nest; a real broker ends with its stack.
const sqlNesting = 1000

// compileSQL reads an expression; ErrInvalid if it is bad.
func compileSQL(text string) (sqlFilter, error) {
	p := &sqlParser{text: text}
	e, err := p.parse()
	if err != nil {
		return sqlFilter{}, fmt.Errorf("%w: %w", msha.ErrInvalid, err)
	}
	return sqlFilter{e}, nil
}

func (f sqlFilter) match(r *record) bool { return f.matches(r.properties()) }

// matches tells whether the expression is true for a message with these properties.
func (f sqlFilter) matches(props map[string]string) bool {
	v, err := f.e.eval(props)
	yes, ok := v.(bool)
	return err == nil && ok && yes
}

type sqlKind int

const (
	sqlEnd sqlKind = iota
	sqlSpace
	sqlDecimal
	sqlFloat
	sqlString
	sqlName // keywords too
	sqlSign
)

type sqlToken struct {
	kind sqlKind
	text string // of names that are keywords in upper case
}

// sqlTokens are tried all; the longest match counts, among equals the first.
var sqlTokens = []struct {
	kind sqlKind
	re   *regexp.Regexp
}{
	{sqlSpace, longest(`[ \t\n\r\f]+`)},
	{sqlSpace, longest(`--[^\n\r]*(\r\n|\n|\r)`)}, // without an end of line it is no comment
	{sqlSpace, longest(`/\*[^*]*\*(\*|[^*/][^*]*\*)*/`)},
	{sqlDecimal, longest(`0|[1-9][0-9]*[lL]?`)},
	{sqlFloat, longest(`[0-9]+\.[0-9]*([eE][+-]?[0-9]+)?|\.[0-9]+([eE][+-]?[0-9]+)?|[0-9]+[eE][+-]?[0-9]+`)},
	{sqlString, longest(`'(''|[^'])*'`)},
	{sqlName, longest(`[a-zA-Z_$][a-zA-Z0-9_$]*`)},
	{sqlSign, longest(`<>|>=|<=|[=><(),+-]`)},
}

func longest(pattern string) *regexp.Regexp {
	re := regexp.MustCompile(`\A(?:` + pattern + `)`)
	re.Longest()
	return re
}

var sqlKeywords = map[string]bool{"NOT": true, "AND": true, "OR": true, "BETWEEN": true, "IN": true, "TRUE": true, "FALSE": true, "NULL": true,
	"IS": true, "CONTAINS": true, "STARTSWITH": true, "ENDSWITH": true}

// sqlParser reads with one token of lookahead. The first problem ends it.
type sqlParser struct {
	text  string
	at    int
	tok   sqlToken
	depth int
}

func (p *sqlParser) parse() (sqlExpr, error) {
	if err := p.advance(); err != nil {
		return sqlExpr{}, err
	}
	e, err := p.or()
	if err != nil {
		return e, err
	}
	return asBoolean(e)
}

// advance reads the next token.
func (p *sqlParser) advance() error {
	for p.at < len(p.text) {
		var tok sqlToken
		for _, t := range sqlTokens {
			if s := t.re.FindString(p.text[p.at:]); len(s) > len(tok.text) {
				tok = sqlToken{t.kind, s}
			}
		}
		if tok.text == "" {
			return fmt.Errorf("lexical error at character %d", p.at)
		}
		p.at += len(tok.text)
		if tok.kind == sqlSpace {
			continue
		}
		if upper := strings.ToUpper(tok.text); tok.kind == sqlName && sqlKeywords[upper] {
			tok = sqlToken{sqlSign, upper}
		}
		p.tok = tok
		return nil
	}
	p.tok = sqlToken{}
	return nil
}

// is tells whether the next token is this keyword or sign.
func (p *sqlParser) is(text string) bool { return p.tok.kind == sqlSign && p.tok.text == text }

// accept takes the next token if it is this keyword or sign.
func (p *sqlParser) accept(text string) (bool, error) {
	if !p.is(text) {
		return false, nil
	}
	return true, p.advance()
}

func (p *sqlParser) expect(text string) error {
	ok, err := p.accept(text)
	if err == nil && !ok {
		err = p.unexpected()
	}
	return err
}

func (p *sqlParser) unexpected() error {
	if p.tok.kind == sqlEnd {
		return fmt.Errorf("unexpected end")
	}
	return fmt.Errorf("unexpected %q before character %d", p.tok.text, p.at)
}

// chain reads operands joined by one keyword.
func (p *sqlParser) chain(keyword string, operand func() (sqlExpr, error), join func(l, r sqlExpr) sqlExpr) (sqlExpr, error) {
	left, err := operand()
	for err == nil {
		var more bool
		if more, err = p.accept(keyword); err != nil || !more {
			break
		}
		var right sqlExpr
		if right, err = operand(); err != nil {
			break
		}
		if left, err = asBoolean(left); err != nil {
			break
		}
		if right, err = asBoolean(right); err == nil {
			left = join(left, right)
		}
	}
	return left, err
}

func (p *sqlParser) or() (sqlExpr, error)  { return p.chain("OR", p.and, sqlOr) }
func (p *sqlParser) and() (sqlExpr, error) { return p.chain("AND", p.equality, sqlAnd) }

func (p *sqlParser) equality() (sqlExpr, error) {
	left, err := p.comparison()
	for err == nil {
		switch {
		case p.is("="), p.is("<>"):
			left, err = p.equal(left, p.tok.text == "<>")
		case p.is("IS"):
			left, err = p.isNull(left)
		default:
			return left, nil
		}
	}
	return left, err
}

func (p *sqlParser) equal(left sqlExpr, not bool) (sqlExpr, error) {
	if err := p.advance(); err != nil {
		return left, err
	}
	right, err := p.comparison()
	if err != nil {
		return left, err
	}
	e, err := sqlEqual(left, right)
	if not {
		e = sqlNot(e)
	}
	return e, err
}

func (p *sqlParser) isNull(left sqlExpr) (sqlExpr, error) {
	if err := p.advance(); err != nil {
		return left, err
	}
	not, err := p.accept("NOT")
	if err == nil {
		err = p.expect("NULL")
	}
	e := sqlSame(left, sqlConstant(nil))
	if not {
		e = sqlNot(e)
	}
	return e, err
}

func (p *sqlParser) comparison() (sqlExpr, error) {
	left, err := p.unary()
	for err == nil {
		var not bool
		switch {
		case p.is(">"), p.is(">="), p.is("<"), p.is("<="):
			left, err = p.order(left)
			continue
		case p.is("NOT"):
			not = true
			if err = p.advance(); err != nil {
				return left, err
			}
		}
		switch {
		case p.is("CONTAINS"), p.is("STARTSWITH"), p.is("ENDSWITH"):
			left, err = p.search(left, not)
		case p.is("BETWEEN"):
			left, err = p.between(left, not)
		case p.is("IN"):
			left, err = p.in(left, not)
		case not:
			return left, p.unexpected()
		default:
			return left, nil
		}
	}
	return left, err
}

func (p *sqlParser) order(left sqlExpr) (sqlExpr, error) {
	sign := p.tok.text
	if err := p.advance(); err != nil {
		return left, err
	}
	right, err := p.unary()
	if err != nil {
		return left, err
	}
	return sqlOrder(left, sign, right)
}

func (p *sqlParser) search(left sqlExpr, not bool) (sqlExpr, error) {
	how := map[string]func(s, part string) bool{"CONTAINS": strings.Contains, "STARTSWITH": strings.HasPrefix, "ENDSWITH": strings.HasSuffix}[p.tok.text]
	if err := p.advance(); err != nil {
		return left, err
	}
	part, err := p.str()
	return sqlSearch(left, how, part, not), err
}

func (p *sqlParser) between(left sqlExpr, not bool) (sqlExpr, error) {
	if err := p.advance(); err != nil {
		return left, err
	}
	low, err := p.unary()
	if err != nil {
		return left, err
	}
	if err := p.expect("AND"); err != nil {
		return left, err
	}
	high, err := p.unary()
	if err != nil {
		return left, err
	}
	return sqlBetween(left, low, high, not)
}

func (p *sqlParser) in(left sqlExpr, not bool) (sqlExpr, error) {
	if err := p.advance(); err != nil {
		return left, err
	}
	if err := p.expect("("); err != nil {
		return left, err
	}
	set := map[string]bool{}
	for {
		s, err := p.str()
		if err != nil {
			return left, err
		}
		set[s] = true
		if more, err := p.accept(","); err != nil {
			return left, err
		} else if !more {
			break
		}
	}
	if err := p.expect(")"); err != nil {
		return left, err
	}
	if !left.property {
		return left, fmt.Errorf("IN takes a property")
	}
	return sqlIn(left, set, not), nil
}

func (p *sqlParser) unary() (e sqlExpr, err error) {
	if p.depth++; p.depth > sqlNesting {
		return e, fmt.Errorf("nested deeper than %d", sqlNesting)
	}
	defer func() { p.depth-- }()
	sign := p.tok.text
	if !p.is("+") && !p.is("-") && !p.is("NOT") {
		return p.primary()
	}
	if err := p.advance(); err != nil {
		return e, err
	}
	if e, err = p.unary(); err != nil || sign == "+" {
		return e, err
	}
	if sign == "-" {
		return sqlNegate(e), nil
	}
	if e, err = asBoolean(e); err != nil {
		return e, err
	}
	return sqlNot(e), nil
}

func (p *sqlParser) primary() (e sqlExpr, err error) {
	tok := p.tok
	switch {
	case tok.kind == sqlString:
		s, err := p.str()
		return sqlConstant(s), err
	case tok.kind == sqlDecimal:
		e, err = sqlInteger(tok.text)
	case tok.kind == sqlFloat:
		e, err = sqlDouble(tok.text)
	case tok.kind == sqlName:
		e = sqlProperty(tok.text)
	case p.is("TRUE"), p.is("FALSE"):
		e = sqlConstant(tok.text == "TRUE")
	case p.is("NULL"):
		e = sqlConstant(nil)
	case p.is("("):
		if err := p.advance(); err != nil {
			return e, err
		}
		if e, err = p.or(); err != nil {
			return e, err
		}
		return e, p.expect(")")
	default:
		return e, p.unexpected()
	}
	if err != nil {
		return e, err
	}
	return e, p.advance()
}

// str takes a string literal.
func (p *sqlParser) str() (string, error) {
	if p.tok.kind != sqlString {
		return "", p.unexpected()
	}
	s := strings.ReplaceAll(p.tok.text[1:len(p.tok.text)-1], "''", "'")
	return s, p.advance()
}

func sqlInteger(text string) (sqlExpr, error) {
	n, err := strconv.ParseInt(strings.TrimRight(text, "lL"), 10, 64)
	if err == nil && int64(int32(n)) == n {
		return sqlConstant(int32(n)), nil
	}
	return sqlConstant(n), err
}

func sqlDouble(text string) (sqlExpr, error) {
	v, err := strconv.ParseFloat(text, 64)
	if err != nil || v < math.SmallestNonzeroFloat64 {
		return sqlExpr{}, fmt.Errorf("%s is too large or too small", text)
	}
	return sqlConstant(v), nil
}
