namespace ObjectStore.Silo.Hosting;

/// <summary>A drive of a node that is in use.</summary>
/// <param name="CapacityBytes">0 where it is unknown.</param>
internal sealed record NodeDrive(Guid Id, string Path, long CapacityBytes);

/// <summary>Which of a node's drives its pool has been told of in this process, and of which the size. Not thread-safe.</summary>
internal sealed class AnnouncedDrives
{
    private readonly Dictionary<Guid, bool> _withSize = [];

    /// <summary>Whether there is a drive, or the size of one, that the pool has not been told.</summary>
    public bool IsBehind(IEnumerable<NodeDrive> drives) => drives.Any(drive => !_withSize.TryGetValue(drive.Id, out bool known) || (!known && drive.CapacityBytes > 0));

    public void Add(IEnumerable<NodeDrive> drives)
    {
        foreach (NodeDrive drive in drives) _withSize[drive.Id] = drive.CapacityBytes > 0 || _withSize.GetValueOrDefault(drive.Id);
    }
}
