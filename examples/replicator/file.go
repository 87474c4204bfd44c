package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// decode applies a configuration file. Keys that are not among the settings are errors, as are keys given twice.
func (c *config) decode(text []byte) error {
	var doc yaml.Node
	if err := yaml.Unmarshal(text, &doc); err != nil {
		return err
	}
	if len(doc.Content) == 0 {
		return nil // empty, or comments only
	}
	root := doc.Content[0]
	if root.Kind != yaml.MappingNode {
		return fmt.Errorf("line %d: want lines of the form key: value", root.Line)
	}
	all, seen := slices.Concat(place, copying, serving), map[string]int{} // commands share one file, also with keys that are not theirs
	for i := 0; i+1 < len(root.Content); i += 2 {
		key, value := root.Content[i], root.Content[i+1]
		if seen[key.Value] != 0 {
			return fmt.Errorf("line %d: %s is there already, in line %d", key.Line, key.Value, seen[key.Value])
		}
		seen[key.Value] = key.Line
		at := slices.IndexFunc(all, func(s setting) bool { return s.name == key.Value })
		if at < 0 {
			return fmt.Errorf("line %d: unknown key %q; there are %s", key.Line, key.Value, strings.Join(names(all), ", "))
		}
		if err := c.decodeOne(all[at], value); err != nil {
			return fmt.Errorf("line %d: %s: %w", value.Line, key.Value, err)
		}
	}
	return nil
}

// decodeOne applies one key.
func (c *config) decodeOne(s setting, value *yaml.Node) error {
	if value.Kind == yaml.AliasNode {
		value = value.Alias
	}
	switch {
	case value.Tag == "!!null":
		return nil // "key:" is the default
	case value.Kind == yaml.ScalarNode:
		return s.set(c, value.Value)
	case value.Kind == yaml.SequenceNode && s.list:
		var items []string
		for _, item := range value.Content {
			if item.Kind != yaml.ScalarNode || item.Tag == "!!null" || strings.Contains(item.Value, ",") {
				return errors.New("want a list of names")
			}
			items = append(items, item.Value)
		}
		return s.set(c, strings.Join(items, ","))
	case s.list:
		return errors.New("want a list, as [a, b]")
	}
	return errors.New("want one value")
}

func names(settings []setting) []string {
	var out []string
	for _, s := range settings {
		out = append(out, s.name)
	}
	slices.Sort(out)
	return out
}
