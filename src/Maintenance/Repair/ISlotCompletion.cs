using ObjectStore.Storage.Placement;

namespace ObjectStore.Maintenance.Repair;

/// <summary>A slot whose drive was found to have everything.</summary>
/// <param name="Drive">The slot's drive in the map that the pass began with.</param>
/// <param name="Epoch">That map's epoch.</param>
public readonly record struct CompletedSlot(PlacementGroupId Group, int Slot, Guid Drive, long Epoch);

/// <summary>Whoever owns the cluster map.</summary>
public interface ISlotCompletion
{
    /// <summary>
    /// Marks slots complete and drops their sources, durably. One whose drive is another by now, or which got a new source since the epoch, is passed over. The map that this process
    /// sees may change later than this returns. An exception leaves it open whether the slots were marked; it is safe to repeat.
    /// </summary>
    ValueTask CompleteAsync(IReadOnlyList<CompletedSlot> slots, CancellationToken cancellationToken = default);
}
