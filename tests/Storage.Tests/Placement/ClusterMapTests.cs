using ObjectStore.Storage.Placement;

namespace ObjectStore.Storage.Tests.Placement;

public sealed class ClusterMapTests
{
    private static readonly FailureDomain Domain = new("z", "r", "h");

    [Fact]
    public void JoiningDrive_TakesItsShare_AndMovesNoOtherGroup()
    {
        MappedDrive[] drives = [.. Enumerable.Range(1, 4).Select(number => new MappedDrive(new Guid(number, 0, 0, new byte[8]), 100, Domain))];
        ClusterMap before = ClusterMap.Create(1, drives[..3], 4096);
        ClusterMap after = ClusterMap.Create(2, drives, 4096);
        int moved = 0;
        for (int group = 0; group < 4096; group++)
        {
            Guid drive = after.DrivesOf(new PlacementGroupId(group))[0];
            if (drive == before.DrivesOf(new PlacementGroupId(group))[0])
                continue;
            Assert.Equal(drives[3].Id, drive);
            moved++;
        }

        Assert.InRange(moved, 900, 1150);
    }

    [Fact]
    public void Shards_OfAGroup_AreOnDistinctDrives_InProportionToWeight()
    {
        MappedDrive[] drives = [.. Enumerable.Range(1, 5).Select(number => new MappedDrive(new Guid(number, 0, 0, new byte[8]), number == 5 ? 0 : number, Domain))];
        ClusterMap map = ClusterMap.Create(1, drives, 4096, shardsPerGroup: 3);
        Assert.All(Enumerable.Range(0, 4096), group => Assert.Equal(3, map.DrivesOf(new PlacementGroupId(group)).Distinct().Count()));
        int[] first = [.. drives.Select(drive => Enumerable.Range(0, 4096).Count(group => map.DrivesOf(new PlacementGroupId(group))[0] == drive.Id))];
        Assert.Equal(0, first[4]);
        Assert.InRange(first[3], 1500, 1780);
    }
}
