package switchplan

// For tests of which plans move the same routes.
var (
	Overlaps   = overlaps
	SameRoutes = sameRoutes
)
