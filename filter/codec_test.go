package filter

import (
	"errors"
	"reflect"
	"testing"

	"github.com/go-msha/msha"
)

func sampleRecords() []Record {
	q := msha.OriginQueue{Unit: "unit-1", Broker: "broker-a", Topic: "SMS", Queue: 3, Incarnation: 1}
	local := LocalQueue{Topic: "SMS", Broker: "broker-a", ID: 3}
	open := Record{Kind: Open, Group: "g", Set: "s", Term: 2, Queue: q, Offset: 7, Number: "w-1", Attempt: 2, Writer: "w", Client: "c",
		MsgID: "0A00", UniqKey: "k"}
	return []Record{
		{Kind: Baseline, Group: "g", Queue: q, Offset: 5},
		{Kind: Baseline, Group: "g", Set: "s", Term: 2, Queue: q, Spans: Offsets{{0, 5}, {9, End}}, Hash: "h"},
		{Kind: Done, Group: "g", Set: "s", Term: 2, Queue: q, Spans: Range(0, 4), Next: 9},
		{Kind: Done, Group: "g", Local: local, Next: 9},
		open,
		{Kind: Sent, Group: "g", Set: "s", Term: 2, Queue: q, Offset: 7, Number: "w-1"},
		{Kind: Close, Group: "g", Set: "s", Term: 2, Queue: q, Offset: 7, Number: "w-1"},
		{Kind: Hold, Group: "g", Local: local, Client: "c", Writer: "w"},
		{Kind: Release, Group: "g", Local: local, Client: "c", Writer: "w"},
		{Kind: Ack, Client: "c", Writer: "w", Version: 1 << 60},
		{Kind: Snapshot, Group: "g", LogOffset: 12, Chunk: 1, Chunks: 2, Records: []Record{open}},
	}
}

func TestCodecRoundTrip(t *testing.T) {
	want := sampleRecords()
	got, err := DecodeRecords(EncodeRecords(want))
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Fatalf("got %v, %v", got, err)
	}
	body := EncodeRecords(want)
	for i := range body {
		if _, err := DecodeRecords(body[:i]); !errors.Is(err, msha.ErrInvalid) {
			t.Fatalf("a body cut at %d: %v", i, err)
		}
	}
	for name, bad := range map[string][]byte{
		"trailing bytes":  append(EncodeRecords(want), 0),
		"unknown version": {codecMagic, codecVersion + 1, 0},
		"unknown kind":    {codecMagic, codecVersion, 1, 99, 0},
		"unknown field":   {codecMagic, codecVersion, 1, 1, 0xff, 0xff, 0xff, 0x7f},
		"huge count":      {codecMagic, codecVersion, 0xff, 0xff, 0xff, 0x7f},
		"nested snapshot": EncodeRecords([]Record{{Kind: Snapshot, Records: []Record{{Kind: Snapshot}}}}),
	} {
		if _, err := DecodeRecords(bad); !errors.Is(err, msha.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzDecodeRecords(f *testing.F) {
	f.Add(EncodeRecords(sampleRecords()))
	f.Add([]byte{codecMagic, codecVersion, 0})
	f.Fuzz(func(t *testing.T, body []byte) {
		rs, err := DecodeRecords(body)
		if err != nil {
			return
		}
		if again := EncodeRecords(rs); string(again) != string(body) {
			t.Fatalf("not canonical: %x gives %x", body, again)
		}
		for _, r := range rs {
			if !r.Spans.Valid() {
				t.Fatalf("invalid spans %v", r.Spans)
			}
		}
	})
}
