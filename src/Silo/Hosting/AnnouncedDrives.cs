using System.Collections.Concurrent;

namespace ObjectStore.Silo.Hosting;

/// <summary>A drive of a node that is in use.</summary>
/// <param name="CapacityBytes">0 where it is unknown.</param>
internal sealed record NodeDrive(Guid Id, string Path, long CapacityBytes);

/// <summary>
/// Which node the pool has been told has a drive, by this process, last, and whether with its size. A drive that another node was announced with since is to be announced again when it is back, or
/// the pool would go on missing it at the other. Thread-safe.
/// </summary>
internal sealed class AnnouncedDrives
{
    private readonly ConcurrentDictionary<Guid, (string NodeId, bool HasSize)> _drives = [];

    /// <summary>Whether there is a drive, or the size of one, that the pool has not been told of this node.</summary>
    public bool IsBehind(string nodeId, IEnumerable<NodeDrive> drives)
        => drives.Any(drive => !_drives.TryGetValue(drive.Id, out (string NodeId, bool HasSize) known) || known.NodeId != nodeId || (!known.HasSize && drive.CapacityBytes > 0));

    public void Add(string nodeId, IEnumerable<NodeDrive> drives)
    {
        foreach (NodeDrive drive in drives)
            _drives.AddOrUpdate(drive.Id, (nodeId, drive.CapacityBytes > 0), (_, known) => (nodeId, drive.CapacityBytes > 0 || (known.NodeId == nodeId && known.HasSize)));
    }
}
