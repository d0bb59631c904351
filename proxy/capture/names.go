package capture

// InterfaceName returns the name of the interface on which packets of a place stand in the captures that halfopen writes; queue does not
// matter for those that the gateway made.
func InterfaceName(p Place, queue uint16) string { return p.name(queue) }

// Application is how those captures name their maker.
const Application = application
