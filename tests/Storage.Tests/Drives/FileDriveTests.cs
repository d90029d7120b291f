using ObjectStore.Storage.Drives;
using ObjectStore.Storage.Tests.Simulation;

namespace ObjectStore.Storage.Tests.Drives;

/// <summary>What a drive's folder syncs of the names that lead to it. The kernel's own folders have no sync: fsync says EINVAL of them.</summary>
public sealed class FileDriveTests : IDisposable
{
    private const string WithoutSync = "/proc/self";
    private readonly TestFolder _folder = new();

    public FileDriveTests() => Assert.SkipUnless(OperatingSystem.IsLinux(), "folders are synced on Linux");

    public void Dispose() => _folder.Dispose();

    [Fact]
    public void FolderAbove_WithoutSync_IsNoError_AndTheDrivesOwnIs()
    {
        Assert.True(Posix.TrySyncFolder(_folder.Path));
        Assert.False(Posix.TrySyncFolder(WithoutSync));
        Assert.Throws<IOException>(() => Posix.SyncFolder(WithoutSync));
    }

    [Theory]
    [InlineData(Posix.ErrorInvalid, true)]
    [InlineData(Posix.ErrorReadOnly, true)]
    [InlineData(Posix.ErrorNoSystemCall, true)]
    [InlineData(Posix.ErrorNotSupported, true)]
    [InlineData(Posix.ErrorIo, false)]
    [InlineData(Posix.ErrorNoSpace, false)]
    [InlineData(Posix.ErrorQuota, false)]
    [InlineData(Posix.ErrorStale, false)]
    public void FailedSync_OfAFolderAbove_IsAnErrorWhereTheDriveFails(int error, bool hasNoSync) => Assert.Equal(hasNoSync, Posix.HasNoFolderSync(error));

    [Fact]
    public void FolderAbove_ThatIsNotThere_IsAnError()
        => Assert.Throws<IOException>(() => Posix.TrySyncFolder(Path.Combine(_folder.Path, "none")));

    [Fact]
    public void Opening_SyncsTheFolderOfVolumes()
    {
        string volumes = Path.Combine(_folder.Path, "volumes");
        Directory.CreateSymbolicLink(volumes, WithoutSync);
        IOException failed = Assert.Throws<IOException>(() => new FileDrive(_folder.Path, directIo: false));
        Assert.Contains(volumes, failed.Message, StringComparison.Ordinal);
        Directory.Delete(volumes);
        new FileDrive(_folder.Path, directIo: false).Dispose();
    }
}
