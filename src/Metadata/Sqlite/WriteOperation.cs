namespace ObjectStore.Metadata.Sqlite;

/// <summary>One change that waits for the writer: what to do inside the transaction, and whom to tell after its commit.</summary>
internal abstract class WriteOperation
{
    /// <summary>Runs in the transaction. May run again in another one, if that one was rolled back.</summary>
    internal abstract void Run(WriterSession session);

    /// <summary>The transaction is on the disk.</summary>
    internal abstract void Complete();

    /// <summary>It is not, or nobody knows.</summary>
    internal abstract void Fail(Exception fault);
}

/// <inheritdoc/>
internal sealed class WriteOperation<T>(Func<WriterSession, T> apply) : WriteOperation
{
    // Continuations run elsewhere: the writer thread belongs to the database.
    private readonly TaskCompletionSource<T> _done = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private T? _result;

    internal Task<T> Task => _done.Task;

    internal override void Run(WriterSession session) => _result = apply(session);

    internal override void Complete() => _done.TrySetResult(_result!);

    internal override void Fail(Exception fault) => _done.TrySetException(fault);
}
