package route

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/go-msha/msha"
)

// MaxDocument is the largest table document, in bytes.
const MaxDocument = 1 << 20

const hintSize = "replace many exact rules by ranges or hash slots"

// document is the stored form. The router list is derived from the rules, for readers that know only the published shape.
type document struct {
	Version uint64                   `json:"version"`
	Routers []msha.RouterEntry       `json:"routers"`
	Rules   []msha.Rule              `json:"rules"`
	Sets    map[string]msha.RouteSet `json:"sets"`
}

// Encode gives the document of a table. ErrInvalid lists every problem of the table; ErrTooLarge above MaxDocument.
func Encode(t *msha.Table) ([]byte, error) {
	if problems := check(t); len(problems) > 0 {
		return nil, invalid("route.encode", problems)
	}
	routers := t.Routers()
	if routers == nil {
		routers = []msha.RouterEntry{}
	}
	b, err := json.Marshal(document{t.Version, routers, t.Rules, t.Sets})
	if err != nil {
		return nil, msha.Errorf("route.encode", msha.TableKey, "", "%w: %w", msha.ErrInvalid, err)
	}
	if len(b) > MaxDocument {
		return nil, tooLarge("route.encode", len(b))
	}
	return b, nil
}

// Parse reads a table document and checks all of it. ErrInvalid names the line and column of a syntax error, or lists every problem;
// ErrTooLarge above MaxDocument. The result is indexed and ready to be shared.
func Parse(b []byte) (*msha.Table, error) {
	const op = "route.parse"
	if len(b) > MaxDocument {
		return nil, tooLarge(op, len(b))
	}
	var d document
	if err := decodeStrict(b, &d); err != nil {
		return nil, msha.Errorf(op, msha.TableKey, "", "%w: %w", msha.ErrInvalid, err)
	}
	t := &msha.Table{Version: d.Version, Rules: d.Rules, Sets: d.Sets}
	problems := check(t)
	if len(problems) == 0 && d.Routers != nil {
		problems = compareRouters(d.Routers, t.Routers())
	}
	if len(problems) > 0 {
		return nil, invalid(op, problems)
	}
	return t.Index(), nil
}

// compareRouters finds a router list that was edited by hand: nobody obeys it, so it must not look as if somebody did.
func compareRouters(listed, derived []msha.RouterEntry) []string {
	same := slices.EqualFunc(listed, derived, func(a, b msha.RouterEntry) bool {
		return a.UnitName == b.UnitName && slices.Equal(a.Values, b.Values)
	})
	if same {
		return nil
	}
	return []string{fmt.Sprintf("routers says %s, but the rules say %s: the list is derived from the rules, values are moved by a switch",
		formatRouters(listed), formatRouters(derived))}
}

// formatRouters is the published form of a router list in log lines.
func formatRouters(entries []msha.RouterEntry) string {
	parts := make([]string, len(entries))
	for i, e := range entries {
		parts[i] = fmt.Sprintf("Metadata.Router: unitName=%s, values=[%s]", e.UnitName, strings.Join(e.Values, ", "))
	}
	return "[" + strings.Join(parts, ", ") + "]"
}

func tooLarge(op string, size int) error {
	return msha.Errorf(op, msha.TableKey, hintSize, "table document %w: %d bytes, at most %d", msha.ErrTooLarge, size, MaxDocument)
}

const maxProblems = 30

func invalid(op string, problems []string) error {
	if n := len(problems) - maxProblems; n > 0 {
		problems = append(problems[:maxProblems:maxProblems], fmt.Sprintf("and %d more", n))
	}
	return msha.Errorf(op, msha.TableKey, "", "%w: %s", msha.ErrInvalid, strings.Join(problems, "; "))
}

// decodeStrict reads exactly one JSON value without unknown fields; errors name line and column where they can.
func decodeStrict(b []byte, into any) error {
	if len(bytes.TrimSpace(b)) == 0 {
		return errors.New("empty document")
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		var syntax *json.SyntaxError
		var kind *json.UnmarshalTypeError
		switch {
		case errors.As(err, &syntax):
			return fmt.Errorf("%s: %w", position(b, syntax.Offset-1), err) // the offset is behind the offending byte
		case errors.As(err, &kind):
			return fmt.Errorf("%s: %w", position(b, kind.Offset), err)
		case errors.Is(err, io.ErrUnexpectedEOF):
			return fmt.Errorf("%s: document is cut off", position(b, int64(len(b))))
		}
		return fmt.Errorf("%s: %w", position(b, d.InputOffset()), err)
	}
	if _, err := d.Token(); err != io.EOF {
		return fmt.Errorf("%s: data after the document", position(b, d.InputOffset()))
	}
	return nil
}

func position(b []byte, offset int64) string {
	before := b[:max(0, min(int(offset), len(b)))]
	line := bytes.Count(before, []byte("\n")) + 1
	return fmt.Sprintf("line %d, column %d", line, len(before)-bytes.LastIndexByte(before, '\n'))
}
