package filter

// maxBody is how large a body of several records may be: far below what brokers accept, so that a body is one small write.
const maxBody = 256 << 10

// Split cuts records into bodies' worth, in order. A single record above the limit stays alone.
func Split(records []Record) [][]Record { return cut(records, maxBody) }

func cut(records []Record, limit int) [][]Record {
	var out [][]Record
	for len(records) > 0 {
		n, size := 0, 0
		for n < len(records) && n < MaxRecords/2 {
			one := len(appendRecord(nil, &records[n]))
			if n > 0 && size+one > limit {
				break
			}
			size += one
			n++
		}
		out = append(out, records[:n])
		records = records[n:]
	}
	return out
}
