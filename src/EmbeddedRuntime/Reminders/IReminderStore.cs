namespace ObjectStore.EmbeddedRuntime.Reminders;

/// <summary>One stored reminder. Times are UTC.</summary>
/// <param name="GrainType">The type of the grain to wake.</param>
/// <param name="GrainKey">Its key.</param>
/// <param name="Name">Unique within the grain.</param>
/// <param name="StartAt">The first tick; tick n is due n periods later.</param>
/// <param name="Period">A minute at least.</param>
/// <param name="ETag">Changes with every write; ignored when writing.</param>
public sealed record ReminderRecord(string GrainType, string GrainKey, string Name, DateTime StartAt, TimeSpan Period, string ETag);

/// <summary>Keeps reminders. Each change is atomic and is durable when its task completes. Safe for concurrent use.</summary>
public interface IReminderStore
{
    ValueTask<IReadOnlyList<ReminderRecord>> ReadAllAsync(CancellationToken cancellationToken);

    /// <summary>Inserts or replaces the reminder of that grain and name.</summary>
    /// <returns>The record as stored, with its new ETag.</returns>
    ValueTask<ReminderRecord> UpsertAsync(ReminderRecord record, CancellationToken cancellationToken);

    /// <summary>Removes the reminder if its ETag is still that of <paramref name="record"/>.</summary>
    /// <returns>Whether it was removed.</returns>
    ValueTask<bool> RemoveAsync(ReminderRecord record, CancellationToken cancellationToken);
}
