using ObjectStore.Storage.Placement;

namespace ObjectStore.Maintenance.Repair;

/// <summary>Whoever owns the cluster map.</summary>
public interface ISlotCompletion
{
    /// <summary>
    /// Marks slots complete and drops their sources, durably, as <see cref="MapPlanner.Complete"/> has it. The map that this process sees may change later than this
    /// returns. An exception leaves it open whether the slots were marked; it is safe to repeat.
    /// </summary>
    ValueTask CompleteAsync(IReadOnlyList<SlotCompletion> slots, CancellationToken cancellationToken = default);
}
