using ObjectStore.Silo.Hosting;
using ObjectStore.Storage.Drives;
using ObjectStore.Storage.Fragments;
using ObjectStore.Storage.Simulation;

namespace ObjectStore.Silo.Tests.Hosting;

/// <summary>What is told of drives that two folders name.</summary>
public sealed class LocalStatisticsTests
{
    private static readonly Guid Drive = Guid.NewGuid();

    [Theory]
    [InlineData(DriveHealthState.Healthy, true)]
    [InlineData(DriveHealthState.Suspect, false)]
    [InlineData(DriveHealthState.Full, true)]
    [InlineData(DriveHealthState.Full, false)]
    public void DriveInUse_CountsBeforeItsCopy_WhicheverFolderIsFirst(DriveHealthState state, bool copyFirst)
    {
        DriveHealth used = Folder("/used", Drive, state), copy = Folder("/copy", Drive, DriveHealthState.Failed), other = Folder("/other", Guid.NewGuid(), DriveHealthState.Failed);
        DriveHealth[] unknown = [Folder("/a", null, DriveHealthState.Failed), Folder("/b", null, DriveHealthState.Failed)];
        DriveHealth[] folders = copyFirst ? [copy, .. unknown, used, other] : [used, .. unknown, copy, other];
        Assert.Equal(folders.Where(folder => folder != copy), LocalDriveHealth.OnePerDrive(folders));
    }

    [Fact]
    public async Task Statistics_HaveADriveOnce_AsItIsInUse_OrAsUnavailableWhereNeitherIs()
    {
        FragmentStoreDirectory directory = new([new MemoryFragmentStore(Drive, TimeProvider.System)]);
        DriveHealth failed = Folder("/copy", Drive, DriveHealthState.Failed);
        DriveStatistics one = Assert.Single(await LocalStatistics.GetAsync([failed, Folder("/used", Drive, DriveHealthState.Healthy)], directory));
        Assert.NotEqual(DriveState.Unavailable, one.State);
        Assert.Equal(("/copy", DriveState.Unavailable), Assert.Single(await LocalStatistics.GetAsync([failed, failed with { Path = "/used" }], directory)) is var neither ? (neither.Path, neither.State) : default);
    }

    private static DriveHealth Folder(string path, Guid? id, DriveHealthState state) => new(path, id, state, "", default, default, null);
}
