using ObjectStore.Storage.Extents;
using ObjectStore.Storage.Placement;

namespace ObjectStore.Storage.Tests.Placement;

public sealed class ClusterMapTests
{
    private static readonly FailureDomain Domain = new("re", "z", "r", "h");

    [Fact]
    public void Shards_OfAGroup_AreOnDistinctDrives_AndNoneOnADriveWithoutWeight()
    {
        MappedDrive[] drives = [.. Enumerable.Range(1, 5).Select(number => new MappedDrive(new Guid(number, 0, 0, new byte[8]), number == 5 ? 0 : number, Domain))];
        ClusterMap map = MapPlanner.Plan(null, drives, 4096, [Scheme.Copies(3)]);
        Assert.All(Enumerable.Range(0, 4096), group =>
        {
            IReadOnlyList<GroupSlot> slots = map.SlotsOf(new PlacementGroupId(3, group));
            Assert.Equal(3, slots.Select(slot => slot.Drive).Distinct().Count());
            Assert.DoesNotContain(slots, slot => slot.Drive == drives[4].Id);
        });
    }
}
