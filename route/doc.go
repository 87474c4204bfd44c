// Package route holds the routing table: which unit owns which routing values, under which term, open or fenced.
//
//   - Pure functions build, check and edit a table: New, Parse, Encode, AddRule, RemoveRule, Fence, Reopen, Commit, Rejoin. Each edit returns
//     a new table with the next version and leaves the given one alone, so a table can be shared without locks. Only Commit changes owners.
//   - Init, Load, Update, Units, UpdateUnits and UpdateRoster read and change the documents by compare-and-set.
//   - Watch follows the table document and implements msha.Router.
//
// Values with the same owner and history form a route set. Sets only split, they never merge: two values that were moved apart and
// back again keep separate histories. A part that was split off shares the facts of the set it came from (RouteSet.Parent) until it
// moves itself.
package route
