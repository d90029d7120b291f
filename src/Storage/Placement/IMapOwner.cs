using ObjectStore.Storage.Extents;

namespace ObjectStore.Storage.Placement;

/// <summary>
/// Whoever owns the cluster map, for an extent store that finds the map it goes by too old. What completes has given the newer map to <see cref="ExtentStore.UpdateMap"/>. Thread-safe.
/// </summary>
public interface IMapOwner
{
    /// <summary>
    /// Sees to it that the map has groups for a scheme, narrowed to the drives that the owner knows of: the next map is durable, with the owner and here, when this completes. An extent is
    /// written only after that, so that there is never one of a width that the map does not have. Safe to repeat.
    /// </summary>
    /// <param name="scheme">As it is configured. Who asks narrows it again to the new map, which may have other drives than the one before.</param>
    /// <exception cref="PlacementUnavailableException">The owner cannot be reached, or the map cannot be made durable.</exception>
    ValueTask RequireGroupsAsync(Scheme scheme, CancellationToken cancellationToken = default);

    /// <summary>Gets the newest map.</summary>
    /// <exception cref="PlacementUnavailableException">The owner cannot be reached, or the map cannot be made durable here.</exception>
    ValueTask RefreshAsync(CancellationToken cancellationToken = default);
}
