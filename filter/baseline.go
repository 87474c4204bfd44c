package filter

import "github.com/go-msha/msha"

// Baselines are the records that say where a group begins in a home queue: in later incarnations of it at their beginning, unless that is before the
// start. q names any incarnation.
func Baselines(group string, q msha.OriginQueue, start int64, in *msha.Incarnations) (rs []Record) {
	for n := int64(0); n <= in.Newest(q); n++ {
		q.Incarnation = n
		rs = append(rs, Record{Kind: Baseline, Group: group, Queue: q, Offset: max(start, in.From(q))})
	}
	return rs
}
