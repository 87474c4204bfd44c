// Package replicate copies every message of one unit to the other units (design section 6). Copies go to a replica topic of the target
// cluster, one per origin unit, each origin queue to exactly one queue there: the order is the origin's, loops cannot form, and the
// last message of a replica queue says where to resume, and a checkpoint where even that has expired.
package replicate
